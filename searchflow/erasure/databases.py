"""PostgreSQL as a place: the ledger, the CRM, Prefect's and SQLMesh's tables, and what the server keeps of erased rows.

In the ledger and the CRM whole rows and entries of lists are deleted. Elsewhere (logs, artifacts, states) identifiers are
cut out of the texts. A row that was deleted or changed stays in its table's file, its values stay in the planner's
statistics, and all of it stays in the write-ahead log. So tables and statistics are rewritten, and the log's old segments
are removed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl
import psycopg
from psycopg import sql

from searchflow.backoff import Backoff
from searchflow.erasure.place import Finding, Job
from searchflow.erasure.terms import Terms
from searchflow.errors import SearchFlowError
from searchflow.services import postgres

NAME = "postgres"
PUBLISHED = "publish"
"""The database of SEARCHFLOW_PUBLISH_URL, where that is another server."""
ROWS = ("ledger", "crm", "bi", PUBLISHED)
"""The databases whose rows are about people."""
LAST = "catalog"
"""The database that is rewritten at the end, once the lake's files are final (`run`)."""
OURS = {"ledger": ("erasure",), "catalog": ("audit",)}
"""The schemas that are left alone: digests, and a log that no one may change."""
USERS = ("key", "user_id", "idempotency_key")
"""The columns that hold a user's id, or a key that begins with it."""
SEPARATOR = "\x01"
ROWS_A_READ = 20_000
LIST = "ARRAY"
"""The name of a list's type in the server's list of columns."""
SEARCHED = tuple(each for each in postgres.DATABASES if each != "sqlmesh")
"""The databases to search. SQLMesh's is left out: it holds no row of any table, and a word cut out would break its models."""
OF_THE_LAKE = ("ducklake_table_column_stats", "ducklake_file_column_stats", "ducklake_inlined_%")
"""The tables of the catalog that are right once the lake's files are (`lake`)."""
LOCK_WAIT, AGAIN = "3s", Backoff(attempts=20, first=0.5, longest=2.0)
OLDEST_READER_SECONDS = 60
MOST_SEGMENTS = 200


@dataclass(frozen=True)
class TextTable:
    """A table of PostgreSQL with its columns of text."""

    schema: str
    name: str
    columns: tuple[tuple[str, str], ...]
    """The name and type of each column."""
    lists: tuple[str, ...] = ()
    """The columns that hold lists of keys: one row is about many people."""

    @property
    def quoted(self) -> sql.Identifier:
        """The quoted name of the table, for statements."""
        return sql.Identifier(self.schema, self.name)

    @property
    def keys(self) -> list[str]:
        """The columns that hold a user's id, or a key that begins with it."""
        return [name for name, kind in self.columns if name in USERS and kind in ("text", "character varying")]


class Databases:
    """The PostgreSQL databases as a place that holds a person and lets go of them."""

    name = NAME

    def search(self, job: Job) -> list[Finding]:
        """Count rows by table. Entries of the audit log that name the person are reported, not removed."""
        found = []
        for database, where in _searched(job):
            with psycopg.connect(where) as connection:
                for table in _tables(connection, database):
                    count = len(_about(connection, table, job.terms, strict=database in ROWS))
                    if count:
                        found.append(Finding(NAME, f"{database}.{table.schema}.{table.name}", count))
        return found

    def erase(self, job: Job) -> None:
        """Delete rows of the ledger and the CRM, and cut identifiers out of everything else."""
        for database, where in _searched(job):
            with psycopg.connect(where) as connection:
                changed = False
                for table in _tables(connection, database):
                    found = _about(connection, table, job.terms, strict=database in ROWS)
                    if not found:
                        continue
                    changed = True
                    if database in ROWS:
                        _shorten_lists(connection, table, found, job.terms)
                        whole = replace(table, lists=())
                        _delete(connection, table, _about(connection, whole, job.terms, strict=True))
                    else:
                        _cut_out(connection, table, found, job.terms)
            if database != LAST and (changed or database in ROWS):
                job.count(f"tables of {database} rewritten", rewrite(job, database, where))


def _searched(job: Job) -> Iterator[tuple[str, str]]:
    """Yield the databases to search, each with its connection string."""
    for database in SEARCHED:
        yield database, postgres.conninfo(job.settings, database)
    if job.settings.publish_url is not None:
        yield (
            PUBLISHED,
            postgres.conninfo_of(job.settings, job.settings.publish_url, "SEARCHFLOW_PUBLISH_URL", "publish"),
        )


def rewrite(job: Job, database: str, where: str) -> int:
    """Rewrite every table and the statistics, so that no page holds an old row. Return the number of tables.

    VACUUM leaves out rows that no transaction can see any more. This waits for transactions that began before the rows were
    deleted. A transaction that begins later does not see them, so other sessions may work meanwhile.

    Raises:
        SearchFlowError: an old transaction does not end, or a session holds a table for longer than this waits.
    """
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute(f"SET lock_timeout = '{LOCK_WAIT}'")
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):  # reported below
            # ANALYZE leaves the statistics of a table that has become empty as they were.
            connection.execute("DELETE FROM pg_catalog.pg_statistic WHERE starelid >= 16384")
        _await_old_readers(connection)
        names = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information_)' ORDER BY 1, 2"
        ).fetchall()
        done = sum(_rewritten(connection, sql.Identifier(schema, name), analyze=True) for schema, name in names)
        _await_old_readers(connection)  # transactions that began since may still see the old statistics
        try:
            _rewritten(connection, sql.Identifier("pg_catalog", "pg_statistic"), analyze=False)
        except psycopg.errors.InsufficientPrivilege:
            job.left.append(
                f"the planner's statistics of the database {database}: have a superuser run VACUUM FULL pg_statistic"
            )
    return done


def _await_old_readers(connection: psycopg.Connection) -> None:
    """Wait until every transaction that began before now has ended: VACUUM would keep what it might still read.

    Raises:
        SearchFlowError: a transaction takes too long; names its process.
    """
    row = connection.execute("SELECT pg_current_xact_id()::xid").fetchone()
    assert row is not None
    reader: tuple[str, int] | None = None
    for _ in range(OLDEST_READER_SECONDS * 10):
        older = connection.execute(
            "SELECT split_part(coalesce(nullif(application_name, ''), 'a program without a name'), '|', 1), pid "
            "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND greatest(age(backend_xmin), age(backend_xid)) > age(%s::text::xid)",
            [str(row[0])],
        ).fetchone()
        if older is None:
            return
        reader = (str(older[0]), int(older[1]))
        time.sleep(0.1)
    assert reader is not None
    raise SearchFlowError(
        f"A transaction of {reader[0]} (PostgreSQL's process {reader[1]}) still reads what was deleted, after "
        f"{OLDEST_READER_SECONDS} s. Nothing is lost: end it, then run `searchflow forget` again."
    )


def _rewritten(connection: psycopg.Connection, table: sql.Identifier, *, analyze: bool) -> bool:
    """Rewrite a table; try again while another session holds it. Return False when the table is gone."""
    options = sql.SQL("FULL, ANALYZE" if analyze else "FULL")
    for _ in AGAIN.tries():
        try:
            connection.execute(sql.SQL("VACUUM ({}) {}").format(options, table))
        except psycopg.errors.UndefinedTable:
            return False  # the lake has dropped it since
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            continue
        else:
            return True
    raise SearchFlowError(
        f"The table {table.as_string(connection)} is in use by another session for too long. Nothing is lost: run "
        "`searchflow forget` again when it is free."
    )


def forget_write_ahead_log(job: Job) -> None:
    """Remove the old segments of the write-ahead log, also those that wait to be overwritten one day."""
    with psycopg.connect(postgres.server_conninfo(job.settings), autocommit=True) as connection:
        try:
            row = connection.execute("SHOW wal_recycle").fetchone()
            if row == ("on",):  # a server that was started before we set this
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
        else "PostgreSQL's write-ahead log: its old segments were not removed, run this again"
    )


def _old_segments(connection: psycopg.Connection) -> list[str]:
    """Return the segments before the present one, and recycled ones after it."""
    found = connection.execute(
        "SELECT name FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' "
        "AND name <> pg_walfile_name(pg_current_wal_insert_lsn())"
    ).fetchall()
    return [str(row[0]) for row in found]


def _tables(connection: psycopg.Connection, database: str) -> Iterator[TextTable]:
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
        yield TextTable(schema, name, texts, tuple(column for column, kind in columns if kind == LIST))


def _about(connection: psycopg.Connection, table: TextTable, terms: Terms, *, strict: bool) -> list[str]:
    """Return the places (ctid) of rows that hold an identifier.

    With `strict`, only a key or an entry of a list counts; otherwise every text does.
    """
    texts = [sql.SQL("{}::text").format(sql.Identifier(name)) for name, _ in table.columns]
    keys = [sql.Identifier(name) for name in table.keys]
    lists = [sql.SQL("array_to_string({}, chr(1))").format(sql.Identifier(name)) for name in table.lists]
    query = sql.SQL("SELECT ctid::text, {}, {} FROM {}").format(
        _joined([*texts, *lists]), _joined([*keys, *lists]), table.quoted
    )
    found: list[str] = []
    with connection.cursor(name="rows_about") as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(ROWS_A_READ):
            frame = pl.DataFrame(rows, schema={"place": pl.String, "text": pl.String, "keys": pl.String}, orient="row")
            perhaps = frame.filter(
                terms.perhaps_in(frame["text"]) | frame["keys"].str.contains(terms.user_id, literal=True)
            )
            found += [place for place, text, key in perhaps.iter_rows() if _is_theirs(text, key, terms, strict=strict)]
    return found


def _joined(parts: Sequence[sql.Composable]) -> sql.Composable:
    return sql.SQL("concat_ws(chr(1), {})").format(sql.SQL(", ").join(parts)) if parts else sql.SQL("''")


def _is_theirs(text: str, keys: str, terms: Terms, *, strict: bool) -> bool:
    if not strict:
        return terms.named_in(text)
    return terms.is_key(text) or any(_is_their_key(key, terms) for key in keys.split(SEPARATOR))


def _is_their_key(key: str, terms: Terms) -> bool:
    return key == terms.user_id or key.startswith(f"{terms.user_id}:")


def _delete(connection: psycopg.Connection, table: TextTable, places: Sequence[str]) -> None:
    statement = sql.SQL("DELETE FROM {} WHERE ctid = ANY(%s::tid[])").format(table.quoted)
    connection.execute(statement, [list(places)])


def _shorten_lists(connection: psycopg.Connection, table: TextTable, places: Sequence[str], terms: Terms) -> None:
    """Take the person's keys out of lists; the keys of other people stay."""
    for name in table.lists:
        column = sql.Identifier(name)
        rows = connection.execute(
            sql.SQL("SELECT ctid::text, {} FROM {} WHERE ctid = ANY(%s::tid[])").format(column, table.quoted),
            [list(places)],
        ).fetchall()
        change = sql.SQL("UPDATE {} SET {} = %s WHERE ctid = %s::tid").format(table.quoted, column)
        for place, entries in rows:
            kept = [each for each in entries or () if not (_is_their_key(each, terms) or terms.is_key(each))]
            if entries and len(kept) < len(entries):
                connection.execute(change, [kept, place])


def _cut_out(connection: psycopg.Connection, table: TextTable, places: Sequence[str], terms: Terms) -> None:
    """Replace the identifiers in the texts of rows."""
    names = [sql.Identifier(name) for name, _ in table.columns]
    read = sql.SQL("SELECT ctid::text, {} FROM {} WHERE ctid = ANY(%s::tid[])").format(
        sql.SQL(", ").join(sql.SQL("{}::text").format(name) for name in names), table.quoted
    )
    changes = [
        sql.SQL("{} = %s::{}").format(name, sql.SQL(kind)) for name, (_, kind) in zip(names, table.columns, strict=True)
    ]
    write = sql.SQL("UPDATE {} SET {} WHERE ctid = %s::tid").format(table.quoted, sql.SQL(", ").join(changes))
    with contextlib.suppress(psycopg.errors.UndefinedTable):
        for place, *texts in connection.execute(read, [list(places)]).fetchall():
            cut = [None if text is None else terms.cut_out(text) for text in texts]
            connection.execute(write, [*cut, place])
