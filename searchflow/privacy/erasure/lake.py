"""The lake: raw tables, dead letters, our own tables, models, and everything that older snapshots still hold.

Events and profiles are deleted and counted in `ops.erased_rows`, so that the books of ingestion still add up; letters
stay as letters without their bytes. Tables of models lose the person's rows, then the models are made anew for the
days they touch. At the end files are rewritten without deleted rows, every older snapshot expires, and old files go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from searchflow import lake_calls, maintenance, transformation, warehouse
from searchflow.errors import SearchFlowError
from searchflow.ingestion import cut
from searchflow.ingestion.commit import in_transaction
from searchflow.ingestion.dead_letters import closing
from searchflow.privacy.erasure import person as people
from searchflow.privacy.erasure.place import Finding, Job
from searchflow.privacy.erasure.terms import REPLACEMENT, Terms
from searchflow.services.process import locked
from searchflow.streams import EVENT_TYPES
from searchflow.transformation import changes

NAME = "lake"
EVENTS = tuple(f"raw.{kind}_events" for kind in EVENT_TYPES)
KEYED = {"key", "user_id", "unit"}
"""Of our own tables, those with such a column have rows about people: they go. Elsewhere the text is cut out."""
USERS = ("user_id", "visitor_id", "key", "idempotency_key", "unit")
SESSIONS = ("session_id", "session_key", "touchpoint_id", "visitor_id")
IDENTIFIERS = ("id", "key", "email")
"""How columns with identifiers end; in any other a plain word may be the same as somebody's id."""
ATTEMPTS, PAUSE_SECONDS = 20, 0.25
EVER = datetime(9999, 1, 1, tzinfo=UTC)
LETTERS_A_READ = 10_000


class Lake:
    """See the module."""

    name = NAME

    def search(self, job: Job) -> list[Finding]:
        """Rows by table."""
        with warehouse.connect(job.settings, read_only=True) as connection:
            _load_terms(connection, job.terms)
            counted = [(table, _count(connection, table, people.THEIRS, _values(job))) for table in EVENTS]
            counted += [
                (f"{table} (mentions)", _count(connection, table, _mentions(job.terms), _values(job)))
                for table in EVENTS
            ]
            counted.append(
                ("raw.user_profiles", _count(connection, "raw.user_profiles", "user_id = $user", _user(job)))
            )
            counted.append(("raw.dead_letters", len(letters_about(connection, job.terms))))
            for table, columns in _others(connection):
                counted.append((table, _count(connection, table, _matching(columns, job.terms, table))))
        return [Finding(NAME, table.replace('"', ""), count) for table, count in counted if count]

    def erase(self, job: Job) -> None:
        """Our own tables and the models. The raw tables went before, when the person was put on the list."""
        with warehouse.connect(job.settings) as connection:
            _load_terms(connection, job.terms)
            in_transaction(connection, lambda: _clean_ours(connection, job.terms))
            job.settings.run_dir.mkdir(parents=True, exist_ok=True)
            with locked(job.settings, "transformation", wait=True):
                for table, columns in _others(connection):
                    if not table.startswith("ops."):
                        _delete(connection, table, _matching(columns, job.terms, table))


def erase_raw(connection: duckdb.DuckDBPyConnection, job: Job) -> None:
    """Events, profiles and the bytes of letters, in one commit. Call it while no other commit can happen."""

    def write() -> None:
        for table in (*EVENTS, "raw.user_profiles"):
            condition, values = (people.THEIRS, _values(job)) if table in EVENTS else ("user_id = $user", _user(job))
            connection.execute(
                f"INSERT INTO ops.erased_rows SELECT $erasure, batch_id, '{table}', count(*), $now FROM {table} "
                f"WHERE {condition} GROUP BY batch_id",
                {**values, "erasure": job.erasure_id, "now": job.now.replace(tzinfo=None)},
            )
            connection.execute(f"DELETE FROM {table} WHERE {condition}", values)
        for table in EVENTS:
            condition = _mentions(job.terms)
            connection.execute(
                f"UPDATE {table} SET payload = {_cut_out('payload', job.terms, strict=True)} WHERE {condition}",
                _values(job),
            )
        letters = letters_about(connection, job.terms)
        if letters:
            closing.blank(connection, letters, job.now)
        closing.sign(connection, "erasure", f"erasure {job.erasure_id}")

    in_transaction(connection, write)


def reach_of_models(job: Job) -> tuple[int, int] | None:
    """How far an event reaches into other days: (minutes of a session's gap, days of the funnel); None without models."""
    from searchflow.transformation.production import chosen

    with warehouse.connect(job.settings, read_only=True) as connection:
        if not _has_models(connection):
            return None
    with chosen(job.settings) as opened:
        variables = opened.variables
        return int(variables["session_gap_minutes"]), int(variables["funnel_window_days"])


def days_of(connection: duckdb.DuckDBPyConnection, job: Job, reach: tuple[int, int]) -> list[date]:
    """Days that models must make anew without this person; ask before their events are deleted."""
    connection.execute("DROP TABLE IF EXISTS temp.fresh")
    connection.execute(changes.fresh_events(people.THEIRS), _values(job))
    span = connection.execute("SELECT min(event_ts), max(event_ts) FROM fresh").fetchone()
    if span is None or span[0] is None:
        return []
    gap, window = reach
    found = changes.days_around(connection, *span, gap_minutes=gap, window_days=window, identity=None)
    days = {*found.all, *_days_of_shared_sessions(connection, job)}
    return sorted({day + timedelta(days=shift) for day in days for shift in (-1, 0, 1)})


def _days_of_shared_sessions(connection: duckdb.DuckDBPyConnection, job: Job) -> set[date]:
    """When their sessions were seen under other users: those sessions get another owner."""
    parts = " UNION ".join(
        f"SELECT event_ts::DATE FROM {table} WHERE session_id IN (SELECT unnest($sessions::VARCHAR[]))"
        for table in EVENTS
    )
    return {row[0] for row in connection.execute(parts, {"sessions": job.person.shared}).fetchall()}


def remake_models(job: Job, days: list[date], clock: Callable[[], datetime]) -> None:
    """Transform with the days that changed; nothing where no model was ever made.

    Raises:
        TransformationFailed: a model or an audit failed. The person is not in any table; call again.
    """
    from searchflow.transformation.project import forget

    with warehouse.connect(job.settings, read_only=True) as connection:
        if not _has_models(connection):
            return
    transformation.transform(job.settings, now=cut.take(job.settings, clock), restate=days)
    forget(job.settings)  # its connections would keep the catalog's tables from being rewritten
    job.count("days of the models made anew", len(days))


def rewrite_files(job: Job) -> None:
    """Files without deleted rows, no older snapshot, no old file, and no orphan that holds the person."""
    with warehouse.connect(job.settings) as connection:
        with cut.CommitGate(job.settings) as gate, gate.alone(EVENT_TYPES):
            for schema, table in _base_tables(connection):
                _insist(connection, lake_calls.FLUSH, schema_name=schema, table_name=table)
        with locked(job.settings, "transformation", wait=True):
            for schema, table in _base_tables(connection):
                written = _insist(connection, "ducklake_rewrite_data_files", table, schema=schema, delete_threshold=0)
                job.count("files rewritten", sum(int(str(row[2])) for row in written))
        with cut.commits_held(job.settings):  # a commit that began before would still need what goes now
            expired = _insist(connection, "ducklake_expire_snapshots", older_than=EVER)
            job.count("snapshots expired", len(expired))
            gone = _insist(connection, "ducklake_cleanup_old_files", cleanup_all=True)
            job.count("old files deleted", len(gone))
            _delete_orphans(connection, job)
            _correct_statistics(connection, job)


def letters_about(connection: duckdb.DuckDBPyConnection, terms: Terms) -> list[str]:
    """Ids of the letters whose bytes hold an identifier."""
    found = connection.execute(
        "SELECT dead_letter_id, raw_payload FROM raw.dead_letters WHERE octet_length(raw_payload) > 0"
    )
    matched: list[str] = []
    while rows := found.fetchmany(LETTERS_A_READ):
        matched += [str(letter) for letter, content in rows if terms.found_in(bytes(content))]
    return matched


def _load_terms(connection: duckdb.DuckDBPyConnection, terms: Terms) -> None:
    for name, members in (("erased_terms", terms.identifiers), ("erased_sessions", terms.sessions)):
        connection.register("erased_values", pa.table({"term": pa.array(members, type=pa.string())}))
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT DISTINCT term FROM erased_values")
        connection.unregister("erased_values")


def _base_tables(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    return connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ? ORDER BY ALL", [warehouse.CATALOG]
    ).fetchall()


def _has_models(connection: duckdb.DuckDBPyConnection) -> bool:
    return any(schema.startswith("sqlmesh__") for schema, _ in _base_tables(connection))


def _others(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, list[str]]]:
    """Every table but raw's, and its columns of text."""
    found = connection.execute(
        "SELECT c.schema_name, c.table_name, list(c.column_name ORDER BY c.column_index) FROM duckdb_columns() AS c "
        "JOIN duckdb_tables() AS t USING (database_name, schema_name, table_name) "
        "WHERE c.database_name = ? AND c.schema_name <> 'raw' AND c.data_type = 'VARCHAR' "
        "AND NOT starts_with(c.table_name, 'position_') GROUP BY ALL ORDER BY ALL",
        [warehouse.CATALOG],
    ).fetchall()
    for schema, table, columns in found:
        yield _quoted(schema, table), list(columns)


def _quoted(schema: str, table: str) -> str:
    plain = f"{schema}.{table}"
    return plain if schema == "ops" else f'"{schema}"."{table}"'


def _values(job: Job) -> dict[str, object]:
    return {"user": job.person.user_id, "sessions": job.person.all_sessions}


def _user(job: Job) -> dict[str, object]:
    return {"user": job.person.user_id}


def _mentions(terms: Terms) -> str:
    """Events of somebody else whose document names the person."""
    return f"({_regexps('payload', terms, strict=True)}) AND NOT coalesce({people.THEIRS}, FALSE)"


def _matching(columns: list[str], terms: Terms, table: str) -> str:
    """A column of a model is an identifier, or a key made of them; texts of our own tables may also mention one."""
    ours = table.startswith("ops.")
    parts = ["FALSE"]
    for column in columns:
        name = f'"{column}"'
        if column in USERS:
            parts.append(f"{name} = {_literal(terms.user_id)} OR starts_with({name}, {_literal(terms.user_id + ':')})")
        if column in SESSIONS:
            session = f"split_part(regexp_replace({name}, '^anon:', ''), ':', 1)"
            parts.append(f"{name} IN (FROM temp.erased_sessions) OR {session} IN (FROM temp.erased_sessions)")
        if ours or column.endswith(IDENTIFIERS):
            parts.append(f"{name} IN (FROM temp.erased_terms)")
            composed = "" if ours else f"(contains({name}, ':') OR contains({name}, '\"')) AND "
            parts.append(f"{composed}({_regexps(name, terms, strict=not ours)})")
    return " OR ".join(f"coalesce({part}, FALSE)" for part in parts)


def _regexps(column: str, terms: Terms, *, strict: bool) -> str:
    return " OR ".join(
        ["FALSE", *(f"regexp_matches({column}, {_literal(each)})" for each in terms.patterns(strict=strict))]
    )


def _cut_out(column: str, terms: Terms, *, strict: bool) -> str:
    """The text of a column with the identifiers replaced. Twice: two that share a separator are found one at a time."""
    text = column
    for pattern in terms.patterns(strict=strict) * 2:
        text = f"regexp_replace({text}, {_literal(pattern)}, '\\1{REPLACEMENT}\\3', 'g')"
    return text


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _count(
    connection: duckdb.DuckDBPyConnection, table: str, condition: str, values: dict[str, object] | None = None
) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table} WHERE {condition}", values or {}).fetchone()
    assert row is not None
    return int(row[0])


def _clean_ours(connection: duckdb.DuckDBPyConnection, terms: Terms) -> None:
    for table, columns in _others(connection):
        if not table.startswith("ops."):
            continue
        if KEYED & set(columns):
            connection.execute(f"DELETE FROM {table} WHERE {_matching(columns, terms, table)}")
            continue
        for column in columns:
            condition = _matching([column], terms, table)
            if _count(connection, table, condition):
                connection.execute(
                    f'UPDATE {table} SET "{column}" = {_cut_out(f"{column}", terms, strict=False)} WHERE {condition}'
                )


def _delete(connection: duckdb.DuckDBPyConnection, table: str, condition: str) -> None:
    if _count(connection, table, condition):
        in_transaction(connection, lambda: connection.execute(f"DELETE FROM {table} WHERE {condition}") and None)


def _insist(
    connection: duckdb.DuckDBPyConnection, function: str, *places: str, **options: object
) -> list[tuple[object, ...]]:
    """Call one of DuckLake's functions until no writer is faster."""
    for attempt in range(1, ATTEMPTS + 1):
        upkeep = maintenance.Upkeep()
        rows = maintenance.call(connection, function, upkeep, *places, alone=nullcontext, **options)
        if not upkeep.skipped:
            return rows
        time.sleep(PAUSE_SECONDS * attempt)
    raise SearchFlowError(
        f"{function} did not come through against other writers. Nothing is lost: run `searchflow forget` again."
    )


def _delete_orphans(connection: duckdb.DuckDBPyConnection, job: Job) -> None:
    """Files that no snapshot names, left by killed writers: those with the person in them go at once."""
    for (path,) in _insist(connection, "ducklake_delete_orphaned_files", older_than=EVER, dry_run=True):
        if _holds(connection, str(path), job.terms):
            if "://" in str(path):
                job.left.append(f"the orphan file {path} holds the person: delete it in its bucket")
            else:
                Path(str(path)).unlink(missing_ok=True)
                job.count("orphan files deleted", 1)


def _holds(connection: duckdb.DuckDBPyConnection, path: str, terms: Terms) -> bool:
    if not path.endswith(".parquet"):
        return False
    try:
        columns = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [path]).fetchall()
        texts = [f'"{name}"::VARCHAR' for name, kind, *_ in columns if kind in ("VARCHAR", "BLOB")]
        if not texts:
            return False
        found = connection.execute(f"SELECT concat_ws(chr(1), {', '.join(texts)}) FROM read_parquet(?)", [path])
        while rows := found.fetchmany(LETTERS_A_READ):
            if any(terms.found_in(str(text).encode()) for (text,) in rows):
                return True
    except duckdb.Error:  # not a whole file: nobody can read it, we neither
        return False
    return False


def _correct_statistics(connection: duckdb.DuckDBPyConnection, job: Job) -> None:
    """The catalog keeps the smallest and largest value of each column, and a deleted row may have been one."""
    catalog = maintenance.CATALOG_TABLES
    stale = connection.execute(f"""
        SELECT s.table_id, s.column_id, d.schema_name, t.table_name, c.column_name
        FROM {catalog}.ducklake_table_column_stats AS s
        JOIN {catalog}.ducklake_table AS t ON t.table_id = s.table_id AND t.end_snapshot IS NULL
        JOIN {catalog}.ducklake_schema AS d ON d.schema_id = t.schema_id AND d.end_snapshot IS NULL
        JOIN {catalog}.ducklake_column AS c
            ON c.table_id = s.table_id AND c.column_id = s.column_id AND c.end_snapshot IS NULL
        WHERE c.column_type = 'varchar' AND (({_regexps("s.min_value", job.terms, strict=True)})
            OR ({_regexps("s.max_value", job.terms, strict=True)}))""").fetchall()
    for table_id, column_id, schema, table, column in stale:
        low, high = connection.execute(f'SELECT min("{column}"), max("{column}") FROM "{schema}"."{table}"').fetchall()[
            0
        ]
        connection.execute(
            f"UPDATE {catalog}.ducklake_table_column_stats SET min_value = ?, max_value = ? "
            "WHERE table_id = ? AND column_id = ?",
            [low, high, table_id, column_id],
        )
