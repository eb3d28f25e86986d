"""The lake as a place: raw tables, dead letters, our own tables and models. `lake_files` covers older snapshots and files.

Events and profiles are deleted and counted in `ops.erased_rows`, so that the books of ingestion still add up. Dead letters
stay as dead letters without their bytes. The same commit deletes rows of models and notes in `ops.erased_days` the days on
which rows of other people change. Whatever happens to the erasure, the next transformation makes these days again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import duckdb

from searchflow import transformation, warehouse
from searchflow.erasure import matching
from searchflow.erasure import person as people
from searchflow.erasure.place import Finding, Job
from searchflow.erasure.terms import Terms
from searchflow.event_types import EVENT_TYPES
from searchflow.fetching import first_row
from searchflow.ingestion import cut
from searchflow.ingestion.commit import in_transaction
from searchflow.ingestion.dead_letters import closing
from searchflow.ops import record
from searchflow.quoting import identifier
from searchflow.transformation import changes

NAME = "lake"
EVENTS = tuple(each.raw_table for each in EVENT_TYPES.values())
PROFILES = "raw.user_profiles"
KEYED = {"key", "user_id", "unit"}
"""The columns by which rows of our own tables are about people: these rows are deleted. Elsewhere the text is cut out."""
MARKS = "ops.erased_days"
LETTERS_A_READ = 10_000


class Lake:
    """The lake as a place that holds a person and lets go of them."""

    name = NAME

    def search(self, job: Job) -> list[Finding]:
        """Count rows by table, in one snapshot."""
        with warehouse.connect(job.settings, read_only=True) as connection, warehouse.transaction(connection):
            counted = [(table, _count(connection, table, people.THEIRS, _values(job))) for table in EVENTS]
            counted += [(f"{table} (mentions)", len(mentions_in(connection, table, job).texts)) for table in EVENTS]
            counted.append((PROFILES, _count(connection, PROFILES, "user_id = $user", _user(job))))
            counted.append(("raw.dead_letters", len(letters_about(connection, job.terms))))
            for table, columns in _others(connection):
                condition = matching.condition(connection, table, columns, job.terms)
                if condition is not None:
                    counted.append((table, _count(connection, table, condition)))
        return [Finding(NAME, table.replace('"', ""), count) for table, count in counted if count]

    def erase(self, job: Job) -> None:
        """Clean our own tables. Raw tables and models lost the person's rows when the person was put on the list."""
        with warehouse.connect(job.settings) as connection:
            in_transaction(connection, lambda: _clean_ours(connection, job.terms))


@dataclass
class Mentions:
    """Events of other users whose document names the person: event id -> the document without them, and the events' days."""

    texts: dict[str, str] = field(default_factory=dict)
    days: set[date] = field(default_factory=set)

    def __or__(self, other: Mentions) -> Mentions:
        return Mentions(self.texts | other.texts, self.days | other.days)


@dataclass
class RowsToErase:
    """The rows that one commit removes. They are looked up before it, so that ingestion waits only for the deletion."""

    days: list[date] = field(default_factory=list)
    """The days that models make again without the person."""
    mentions: dict[str, Mentions] = field(default_factory=dict)
    """The table of events -> events of other users whose document names the person."""
    letters: list[str] = field(default_factory=list)
    """The ids of the dead letters that lose their bytes."""
    models: dict[str, str] = field(default_factory=dict)
    """The table of a model -> the condition for its rows."""

    @property
    def mentioned(self) -> set[date]:
        """The days of events that lose a mention: models hold what their documents said."""
        return set[date]().union(*(each.days for each in self.mentions.values()))


def look_up(connection: duckdb.DuckDBPyConnection, job: Job, reach: tuple[int, int] | None) -> RowsToErase:
    """Find the rows to erase, in one snapshot."""
    with warehouse.transaction(connection):
        mentions = {table: mentions_in(connection, table, job) for table in EVENTS}
        days = days_of(connection, job, reach) if reach is not None else []
        return RowsToErase(days, mentions, letters_about(connection, job.terms), model_rows(connection, job))


def add_newer(connection: duckdb.DuckDBPyConnection, job: Job, rows: RowsToErase, since: datetime) -> None:
    """Add the rows that came in since the lookup, which saw the commits up to `since`."""
    moment = since.replace(tzinfo=None)
    for table in EVENTS:
        rows.mentions[table] |= mentions_in(connection, table, job, "ingested_at >= $since", {"since": moment})
    newer = letters_about(connection, job.terms, "received_at >= $since", {"since": moment})
    rows.letters = sorted({*rows.letters, *newer})


def erase_raw(connection: duckdb.DuckDBPyConnection, job: Job, rows: RowsToErase, stamp: datetime) -> None:
    """Remove the person's rows and note the days to make again, in one commit. Call this while no other commit can happen."""

    def write() -> None:
        remove(connection, job, rows, stamp)
        closing.sign(connection, "erasure", f"erasure {job.erasure_id}")

    in_transaction(connection, write)


def remove(connection: duckdb.DuckDBPyConnection, job: Job, rows: RowsToErase, stamp: datetime) -> None:
    """Remove the person's rows and note the days to make again, inside the caller's transaction."""
    for table in (*EVENTS, PROFILES):
        _delete_counted(connection, job, table)
    for table, mentions in rows.mentions.items():
        if mentions.texts:
            matching.replace(connection, table, "event_id", "payload", mentions.texts)
    if rows.letters:
        closing.blank(connection, rows.letters, job.now)
    for table, condition in rows.models.items():
        _delete(connection, table, condition)
    _mark(connection, job, sorted({*rows.days, *rows.mentioned}), stamp)


def _delete_counted(connection: duckdb.DuckDBPyConnection, job: Job, table: str) -> None:
    condition, values = (people.THEIRS, _values(job)) if table in EVENTS else ("user_id = $user", _user(job))
    connection.execute(
        f"INSERT INTO ops.erased_rows SELECT $erasure, batch_id, '{table}', count(*), $now FROM {table} "
        f"WHERE {condition} GROUP BY batch_id",
        {**values, "erasure": job.erasure_id, "now": job.now.replace(tzinfo=None)},
    )
    connection.execute(f"DELETE FROM {table} WHERE {condition}", values)


def _mark(connection: duckdb.DuckDBPyConnection, job: Job, days: list[date], stamp: datetime) -> None:
    """Note the days for the next transformation of each environment. Days that this erasure noted before stay noted."""
    known = connection.execute(f"SELECT day FROM {MARKS} WHERE erasure_id = ?", [job.erasure_id]).fetchall()
    mark, missing = str(uuid.uuid4()), sorted({*days} - {day for (day,) in known})
    common = {"mark_id": mark, "erasure_id": job.erasure_id, "erased_at": stamp.replace(tzinfo=None)}
    record.rows(connection, MARKS, [{**common, "day": day} for day in missing])


def reach_of_models(job: Job) -> tuple[int, int] | None:
    """Return how far an event reaches into other days: (minutes of a session's gap, days of the funnel).

    None means that there are no models.
    """
    from searchflow.transformation.production import chosen

    with warehouse.connect(job.settings, read_only=True) as connection:
        if not _has_models(connection):
            return None
    with chosen(job.settings) as opened:
        variables = opened.variables
        return int(variables["session_gap_minutes"]), int(variables["funnel_window_days"])


def days_of(connection: duckdb.DuckDBPyConnection, job: Job, reach: tuple[int, int]) -> list[date]:
    """Return the days that models must make again without this person. Call this before their events are deleted."""
    connection.execute("DROP TABLE IF EXISTS temp.fresh")
    connection.execute(changes.fresh_events(people.THEIRS), _values(job))
    span = first_row(connection.execute("SELECT min(event_ts), max(event_ts) FROM fresh"))
    if span is None or span[0] is None:
        return []
    gap, window = reach
    found = changes.days_around(connection, *span, gap_minutes=gap, window_days=window, identity=None)
    days = {*found.all, *_days_of_shared_sessions(connection, job)}
    return sorted({day + timedelta(days=shift) for day in days for shift in (-1, 0, 1)})


def _days_of_shared_sessions(connection: duckdb.DuckDBPyConnection, job: Job) -> set[date]:
    """Return the days on which the person's sessions were seen under other users: those sessions get another owner."""
    parts = " UNION ".join(
        f"SELECT event_ts::DATE FROM {table} WHERE session_id IN (SELECT unnest($sessions::VARCHAR[]))"
        for table in EVENTS
    )
    return {row[0] for row in connection.execute(parts, {"sessions": job.person.shared}).fetchall()}


def remake_models(job: Job, clock: Callable[[], datetime]) -> None:
    """Transform, so that the days that the erasure noted are made again. Do nothing where no model was ever made.

    Raises:
        TransformationFailed: a model or an audit failed. The person is in no table any more; call this again.
    """
    from searchflow.transformation.project import forget

    with warehouse.connect(job.settings, read_only=True) as connection:
        if not _has_models(connection):
            return
    transformation.transform(job.settings, now=cut.take(job.settings, clock))
    forget(job.settings)  # open connections of SQLMesh would keep the catalog's tables from being rewritten
    with warehouse.connect(job.settings, read_only=True) as connection:
        noted = f"SELECT count(DISTINCT day) FROM {MARKS} WHERE erasure_id = $erasure"
        [(days,)] = connection.execute(noted, {"erasure": job.erasure_id}).fetchall()
    job.facts["days of the models made again"] = int(days)


def mentions_in(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    job: Job,
    condition: str = "TRUE",
    values: dict[str, object] | None = None,
) -> Mentions:
    """Return the events of other users whose document holds an identifier, wherever in it."""
    theirs = f"coalesce({people.THEIRS}, FALSE)"
    query = f"SELECT event_id, event_ts::DATE, payload FROM {table} WHERE {condition} AND NOT {theirs}"
    found = Mentions()
    for event, day, document in matching.perhaps(connection, query, _values(job) | (values or {}), job.terms):
        if job.terms.named_in(document):
            found.texts[event] = job.terms.cut_out(document)
            found.days.add(day)
    return found


def letters_about(
    connection: duckdb.DuckDBPyConnection,
    terms: Terms,
    condition: str = "TRUE",
    values: dict[str, object] | None = None,
) -> list[str]:
    """Return the ids of the dead letters whose bytes hold an identifier."""
    found = connection.execute(
        f"SELECT dead_letter_id, raw_payload FROM raw.dead_letters WHERE octet_length(raw_payload) > 0 AND {condition}",
        values or {},
    )
    matched: list[str] = []
    while rows := found.fetchmany(LETTERS_A_READ):
        matched += [str(letter) for letter, content in rows if terms.found_in(bytes(content))]
    return matched


def model_rows(connection: duckdb.DuckDBPyConnection, job: Job) -> dict[str, str]:
    """Return the tables of models that hold rows about the person -> a condition for these rows."""
    found = {}
    for table, columns in _others(connection):
        if not table.startswith("ops."):
            condition = matching.condition(connection, table, columns, job.terms)
            if condition is not None:
                found[table] = condition
    return found


def _base_tables(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Return all tables of the lake as (schema, table)."""
    return connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ? ORDER BY ALL", [warehouse.CATALOG]
    ).fetchall()


def _has_models(connection: duckdb.DuckDBPyConnection) -> bool:
    return any(schema.startswith("sqlmesh__") for schema, _ in _base_tables(connection))


def _others(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, list[str]]]:
    """Yield every table outside the schema `raw`, with its columns of text."""
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
    return plain if schema == "ops" else f"{identifier(schema)}.{identifier(table)}"


def _values(job: Job) -> dict[str, object]:
    return {"user": job.person.user_id, "sessions": job.person.all_sessions}


def _user(job: Job) -> dict[str, object]:
    return {"user": job.person.user_id}


def _count(
    connection: duckdb.DuckDBPyConnection, table: str, condition: str, values: dict[str, object] | None = None
) -> int:
    row = first_row(connection.execute(f"SELECT count(*) FROM {table} WHERE {condition}", values or {}))
    assert row is not None
    return int(row[0])


def _clean_ours(connection: duckdb.DuckDBPyConnection, terms: Terms) -> None:
    for table, columns in _others(connection):
        if not table.startswith("ops."):
            continue
        if KEYED & set(columns):
            condition = matching.condition(connection, table, columns, terms)
            if condition is not None:
                _delete(connection, table, condition)
            continue
        for column, values in matching.values_about(connection, table, columns, terms).items():
            matching.replace(connection, table, column, column, {text: terms.cut_out(text) for text in values})


def _delete(connection: duckdb.DuckDBPyConnection, table: str, condition: str) -> None:
    connection.execute(f"DELETE FROM {table} WHERE {condition}")
