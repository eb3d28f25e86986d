"""PostgreSQL: the ledger, the CRM, Prefect's and SQLMesh's tables, and what the server keeps of rows that are gone.

In the ledger and the CRM whole rows go, and entries of lists. Elsewhere (logs, artifacts, states) identifiers are cut
out of the texts. A row that was deleted or changed stays in its table's file, its values in the planner's statistics, and
all of it in the write-ahead log; so tables are written anew, statistics too, and the log's old segments are removed.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from searchflow.errors import SearchFlowError
from searchflow.privacy.erasure.place import Finding, Job
from searchflow.privacy.erasure.terms import REPLACEMENT, Terms
from searchflow.services import postgres

NAME = "postgres"
PUBLISHED = "publish"
"""The database of SEARCHFLOW_PUBLISH_URL, where that is another server."""
ROWS = ("ledger", "crm", "bi", PUBLISHED)
"""Databases whose rows are about people."""
REWRITTEN = ("catalog", *ROWS)
"""Databases whose tables are always written anew; the others when something was cut out of them."""
OURS = {"ledger": ("erasure",), "catalog": ("audit",)}
"""Schemas that are left alone: digests, and a log that nobody may change."""
USERS = ("key", "user_id", "idempotency_key")
"""Columns that hold a user's id, or a key that begins with it."""
LIST = "ARRAY"
"""How the server's list of columns calls a list."""
SEARCHED = tuple(each for each in postgres.DATABASES if each != "sqlmesh")
"""SQLMesh's state is about models: no row of any table is in it, and a word cut out of it would break them."""
OF_THE_LAKE = ("ducklake_table_column_stats", "ducklake_file_column_stats", "ducklake_inlined_%")
"""Tables of the catalog that are right once the lake's files are (`lake`)."""
LOCK_WAIT, ATTEMPTS, PAUSE_SECONDS = "3s", 20, 0.5
OLDEST_READER_SECONDS = 60
MOST_SEGMENTS = 200
STILL_SEEN = re.compile(r"(\d+) dead row versions? cannot be removed yet")
"""What VACUUM says of rows that some transaction may still read: it writes them anew with the rest."""


@dataclass(frozen=True)
class Table:
    """A table with columns of text."""

    schema: str
    name: str
    columns: tuple[tuple[str, str], ...]
    """Name and type."""
    lists: tuple[str, ...] = ()
    """Columns that hold lists of keys: one row is about many people."""

    @property
    def quoted(self) -> sql.Identifier:
        """For statements."""
        return sql.Identifier(self.schema, self.name)

    def matches(self, terms: Terms, *, strict: bool) -> sql.Composable:
        """True for rows that hold an identifier outside their lists."""
        texts = [sql.SQL("{}::text").format(sql.Identifier(name)) for name, _ in self.columns]
        text = sql.SQL("concat_ws(chr(1), {})").format(sql.SQL(", ").join(texts)) if texts else sql.SQL("''")
        keys = [
            sql.Identifier(name)
            for name, kind in self.columns
            if strict and name in USERS and kind in ("text", "character varying")
        ]
        return _holds(text, keys, terms, strict=strict)

    def lists_match(self, terms: Terms) -> sql.Composable:
        """True for rows that hold an identifier in a list."""
        tests = [
            sql.SQL("EXISTS (SELECT FROM unnest({}) AS t (entry) WHERE {})").format(
                sql.Identifier(name), _is_theirs(terms)
            )
            for name in self.lists
        ]
        return sql.SQL(" OR ").join([sql.SQL("false"), *tests])


def _holds(text: sql.Composable, keys: Sequence[sql.Composable], terms: Terms, *, strict: bool) -> sql.Composable:
    """True where the text holds an identifier, or one of the keys is the person's or begins with their id."""
    tests: list[sql.Composable] = [sql.SQL("false")]
    tests += [sql.SQL("{} ~ {}").format(text, sql.Literal(each)) for each in terms.patterns(strict=strict)]
    tests += [
        sql.SQL("({0} = {1} OR starts_with({0}, {2}))").format(
            key, sql.Literal(terms.user_id), sql.Literal(f"{terms.user_id}:")
        )
        for key in keys
    ]
    return sql.SQL(" OR ").join(tests)


def _is_theirs(terms: Terms) -> sql.Composable:
    """True of an entry of a list of keys."""
    return _holds(sql.SQL("entry"), [sql.SQL("entry")], terms, strict=True)


class Databases:
    """See the module."""

    name = NAME

    def search(self, job: Job) -> list[Finding]:
        """Rows by table. Entries of the audit log that name the person are told, not removed."""
        found = []
        for database, where in _searched(job):
            with psycopg.connect(where) as connection:
                for table in _tables(connection, database):
                    count = _count(connection, table, job.terms, strict=database in ROWS)
                    if count:
                        found.append(Finding(NAME, f"{database}.{table.schema}.{table.name}", count))
        return found

    def erase(self, job: Job) -> None:
        """Rows out of the ledger and the CRM, identifiers out of everything else."""
        for database, where in _searched(job):
            with psycopg.connect(where) as connection:
                changed = False
                for table in _tables(connection, database):
                    strict = database in ROWS
                    if not _count(connection, table, job.terms, strict=strict):
                        continue
                    changed = True
                    if database in ROWS:
                        _shorten_lists(connection, table, job.terms)
                        condition = table.matches(job.terms, strict=True)
                        connection.execute(sql.SQL("DELETE FROM {} WHERE {}").format(table.quoted, condition))
                    else:
                        _cut_out(connection, table, job.terms)
            if changed or database in REWRITTEN:
                job.count(f"tables of {database} written anew", rewrite(job, database, where))


def _searched(job: Job) -> Iterator[tuple[str, str]]:
    """Databases and how to connect to them."""
    for database in SEARCHED:
        yield database, postgres.conninfo(job.settings, database)
    if job.settings.publish_url is not None:
        yield (
            PUBLISHED,
            postgres.conninfo_of(job.settings, job.settings.publish_url, "SEARCHFLOW_PUBLISH_URL", "publish"),
        )


def rewrite(job: Job, database: str, where: str) -> int:
    """Write every table and the statistics anew, so that no page holds an old row. Returns how many tables.

    Raises:
        SearchFlowError: somebody holds a table for longer than we wait.
    """
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute(f"SET lock_timeout = '{LOCK_WAIT}'")
        _await_old_readers(connection)
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):  # told below
            # ANALYZE leaves the statistics of a table that has become empty as they were.
            connection.execute("DELETE FROM pg_catalog.pg_statistic WHERE starelid >= 16384")
        names = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information_)' ORDER BY 1, 2"
        ).fetchall()
        done = sum(_rewritten(connection, sql.Identifier(schema, name), analyze=True) for schema, name in names)
        _await_old_readers(connection)  # those that began since may still see the statistics of before
        try:
            _rewritten(connection, sql.Identifier("pg_catalog", "pg_statistic"), analyze=False)
        except psycopg.errors.InsufficientPrivilege:
            job.left.append(
                f"the planner's statistics of the database {database}: have a superuser run VACUUM FULL pg_statistic"
            )
    return done


def _await_old_readers(connection: psycopg.Connection) -> None:
    """Until every transaction that began before has ended: what it might still read would be written anew with the rest.

    Raises:
        SearchFlowError: one goes on for too long; names its session.
    """
    row = connection.execute("SELECT pg_current_xact_id()::xid").fetchone()
    assert row is not None
    name = ""
    for _ in range(OLDEST_READER_SECONDS * 10):
        older = connection.execute(
            "SELECT coalesce(nullif(application_name, ''), 'process ' || pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND greatest(age(backend_xmin), age(backend_xid)) > age(%s::text::xid)",
            [str(row[0])],
        ).fetchone()
        if older is None:
            return
        name = str(older[0]).split("|")[0]
        time.sleep(0.1)
    raise SearchFlowError(
        f"A transaction of {name} still reads what was deleted. Nothing is lost: run "
        "`searchflow forget` again when it has ended."
    )


def _rewritten(connection: psycopg.Connection, table: sql.Identifier, *, analyze: bool) -> bool:
    """Write a table anew; again while somebody holds it, or may still see rows of it that are gone."""
    options = sql.SQL("FULL, VERBOSE, ANALYZE" if analyze else "FULL, VERBOSE")
    kept: list[str] = []

    def listen(said: psycopg.errors.Diagnostic) -> None:
        kept.extend(STILL_SEEN.findall(said.message_detail or ""))

    connection.add_notice_handler(listen)
    try:
        for attempt in range(1, ATTEMPTS + 1):
            kept.clear()
            try:
                connection.execute(sql.SQL("VACUUM ({}) {}").format(options, table))
            except psycopg.errors.UndefinedTable:
                return False  # the lake has dropped it since
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                kept.append("locked")
            if not any(each != "0" for each in kept):
                return True
            time.sleep(PAUSE_SECONDS * min(attempt, 4))
    finally:
        connection.remove_notice_handler(listen)
    raise SearchFlowError(
        f"The table {table.as_string(connection)} is in use by another session for too long. Nothing is lost: run "
        "`searchflow forget` again when it is free."
    )


def forget_write_ahead_log(job: Job) -> None:
    """Remove the log's old segments, also those that wait to be overwritten one day."""
    with psycopg.connect(postgres.server_conninfo(job.settings), autocommit=True) as connection:
        try:
            row = connection.execute("SHOW wal_recycle").fetchone()
            if row == ("on",):  # a server that was started before this setting was ours
                connection.execute("ALTER SYSTEM SET wal_recycle = off")
                connection.execute("SELECT pg_reload_conf()")
            for _ in range(MOST_SEGMENTS):
                connection.execute("SELECT pg_logical_emit_message(false, 'searchflow', '')")
                connection.execute("SELECT pg_switch_wal()")
                connection.execute("CHECKPOINT")
                job.count("log segments switched", 1)
                if not _old_segments(connection):
                    return
        except psycopg.errors.InsufficientPrivilege:
            pass
    job.left.append(
        "PostgreSQL's write-ahead log and its backups: they age out as its operator keeps them"
        if job.settings.postgres_url is not None
        else "PostgreSQL's write-ahead log: its old segments did not go, run this again"
    )


def _old_segments(connection: psycopg.Connection) -> list[str]:
    """Segments before the present one, and recycled ones behind it."""
    found = connection.execute(
        "SELECT name FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' "
        "AND name <> pg_walfile_name(pg_current_wal_insert_lsn())"
    ).fetchall()
    return [str(row[0]) for row in found]


def _tables(connection: psycopg.Connection, database: str) -> Iterator[Table]:
    rows = connection.execute(
        """
        SELECT c.table_schema, c.table_name, array_agg(ARRAY[c.column_name, c.data_type] ORDER BY c.ordinal_position)
        FROM information_schema.columns AS c
        JOIN information_schema.tables AS t USING (table_schema, table_name)
        WHERE t.table_type = 'BASE TABLE' AND c.table_schema !~ '^(pg_|information_)'
            AND c.table_schema <> ALL (%s) AND NOT c.table_name LIKE ANY (%s)
            AND (c.data_type IN ('text', 'character varying', 'character', 'json', 'jsonb')
                OR (c.udt_name = '_text' AND %s))
        GROUP BY 1, 2 ORDER BY 1, 2
        """,
        [list(OURS.get(database, ())), list(OF_THE_LAKE) if database == "catalog" else [], database in ROWS],
    ).fetchall()
    for schema, name, columns in rows:
        texts = tuple((column, kind) for column, kind in columns if kind != LIST)
        yield Table(schema, name, texts, tuple(column for column, kind in columns if kind == LIST))


def _shorten_lists(connection: psycopg.Connection, table: Table, terms: Terms) -> None:
    """A list loses the person's keys; the others' stay."""
    for name in table.lists:
        connection.execute(
            sql.SQL(
                "UPDATE {} SET {} = ARRAY(SELECT entry FROM unnest({}) AS t (entry) WHERE NOT ({})) WHERE {}"
            ).format(
                table.quoted, sql.Identifier(name), sql.Identifier(name), _is_theirs(terms), table.lists_match(terms)
            )
        )


def _count(connection: psycopg.Connection, table: Table, terms: Terms, *, strict: bool) -> int:
    condition = sql.SQL("({}) OR ({})").format(table.matches(terms, strict=strict), table.lists_match(terms))
    row = connection.execute(sql.SQL("SELECT count(*) FROM {} WHERE {}").format(table.quoted, condition)).fetchone()
    assert row is not None
    return int(row[0])


def _cut_out(connection: psycopg.Connection, table: Table, terms: Terms) -> None:
    """Twice: of two identifiers that share a separator, each pass finds one."""
    for _ in range(2):
        for column, kind in table.columns:
            name = sql.Identifier(column)
            text: sql.Composable = sql.SQL("{}::text").format(name)
            for pattern in terms.patterns(strict=False):
                text = sql.SQL("regexp_replace({}, {}, {}, 'g')").format(
                    text, sql.Literal(pattern), sql.Literal(f"\\1{REPLACEMENT}\\3")
                )
            single = Table(table.schema, table.name, ((column, kind),))
            statement = sql.SQL("UPDATE {} SET {} = ({})::{} WHERE {}").format(
                table.quoted, name, text, sql.SQL(kind), single.matches(terms, strict=False)
            )
            with contextlib.suppress(psycopg.errors.UndefinedTable):
                connection.execute(statement)
