"""Held events: events that a model cannot digest are found, held back from staging, and reported. All other events are
made.

A model that raises on one value would stop itself and every model behind it. When a query fails on data, this module
finds the events whose absence lets it pass. It writes the model's query down to the raw tables and tries it without a
part of the events, halving the part each time. Held events stay in `raw`, so that the accounting holds; the staging
views leave them out, so that every mart and every audit sees the same events. They come back when the model changes, or
with `searchflow held release`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import duckdb

from searchflow.errors import engine_reason
from searchflow.event_types import EVENT_TYPES, of_every_type
from searchflow.fetching import first_row
from searchflow.ops import record

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlmesh.core.snapshot import Snapshot

    from searchflow.transformation.project import Project

DATA_ERRORS = (duckdb.DataError, duckdb.InvalidInputException)
"""Errors that DuckDB raises for a value; other errors (a missing table, no memory) are never the fault of an event."""
MOST_HELD = 20
"""The most events to hold back. A model that fails on more events than this is wrong itself: it fails as a whole."""
MOST_SECONDS = 900.0
NEWEST = (1_000, 50_000, None)
"""How many of the newest events are tried, in turn; None means all. The offender is most likely new."""
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")

Part = tuple[int, int]


class _GaveUp(Exception):
    """The search gave up: there are too many events, or it takes too long."""


@dataclass(frozen=True)
class Held:
    """An event that is held back, and the model that could not digest it: in which version, and why."""

    event_type: str
    event_id: str
    model: str
    version: str = ""
    reason: str = ""


def find(opened: Project, connection: duckdb.DuckDBPyConnection, now: datetime) -> list[Held]:
    """Find the events on which models of the last run failed. Return None when no event is to blame."""
    found: list[Held] = []
    for name, cause in opened.console.failures.items():
        error, snapshot = _data_error(cause), opened.console.snapshots.get(name)
        if error is None or snapshot is None or not snapshot.model.is_sql:
            continue
        reason = _QUOTED.sub("…", engine_reason(error))
        for event_type, event_id in _offenders(opened, connection, snapshot, now):
            found.append(Held(event_type, event_id, snapshot.model.name, _version(snapshot), reason))
    return found


def hold(connection: duckdb.DuckDBPyConnection, events: Collection[Held], run_id: str, now: datetime) -> None:
    """Leave events out of staging. Their days must be marked missing before: a run that is killed in between then finds
    them again.
    """
    record.rows(connection, "ops.held_events", [{**asdict(each), "held_at": now, "run_id": run_id} for each in events])


def held(connection: duckdb.DuckDBPyConnection) -> list[Held]:
    """Return every event that is held back now."""
    rows = connection.execute(
        "SELECT event_type, event_id, model, version, reason FROM ops.held_events WHERE released_at IS NULL "
        "ORDER BY held_at, event_id"
    ).fetchall()
    return [Held(*row) for row in rows]


def due(opened: Project, connection: duckdb.DuckDBPyConnection) -> list[Held]:
    """Return held events that the next run tries again: their model has another version by now, or a person asked for
    it.
    """
    waiting = held(connection)
    if not waiting:
        return []
    versions = {each.model.name: _version(each) for each in opened.snapshots() if each.is_model}
    return [each for each in waiting if versions.get(each.model) != each.version]


def release(connection: duckdb.DuckDBPyConnection, events: Collection[Held], now: datetime) -> None:
    """Let events into staging again. Their days must be marked missing before."""
    for each in events:
        connection.execute(
            "UPDATE ops.held_events SET released_at = ? WHERE event_id = ? AND event_type = ? AND released_at IS NULL",
            [now, each.event_id, each.event_type],
        )


def ask_to_release(connection: duckdb.DuckDBPyConnection, event_id: str | None = None) -> int:
    """Ask the next run to try all held events again, or one of them. Return how many."""
    which, values = ("AND event_id = ?", [event_id]) if event_id else ("", [])
    row = first_row(
        connection.execute(f"UPDATE ops.held_events SET version = '' WHERE released_at IS NULL {which}", values)
    )
    return int(row[0]) if row else 0


def days_of(connection: duckdb.DuckDBPyConnection, events: Collection[Held]) -> set[date]:
    """Return the days whose tables these events are in: their own, their neighbours', and those of the searches they
    belong to.
    """
    ids, found = {each.event_id for each in events}, set[date]()
    for event_type in reversed(EVENT_TYPES.values()):  # what an event refers to comes after it
        fields = ", ".join(f"lower(payload ->> '$.{each.field}')" for each in event_type.references)
        rows = connection.execute(
            f"SELECT event_ts::DATE, [{fields}]::VARCHAR[] FROM {event_type.raw_table} "
            "WHERE event_id IN (SELECT unnest(?::VARCHAR[]))",
            [sorted(ids)],
        ).fetchall()
        found |= {day for day, _ in rows}
        ids |= {referred for _, those in rows for referred in those if referred is not None}
    return {day + timedelta(days=step) for day in found for step in (-1, 0, 1)}


def warning(events: Collection[Held]) -> str:
    """Return what a run says about the events that it held back."""
    models = ", ".join(sorted({each.model for each in events}))
    return (
        f"{len(events)} event{'s' if len(events) > 1 else ''} held back from the models: {models} could not digest "
        f"{'them' if len(events) > 1 else 'it'}. `searchflow held list` shows which."
    )


def _data_error(cause: BaseException | None) -> Exception | None:
    while cause is not None:
        if isinstance(cause, DATA_ERRORS):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _version(snapshot: Snapshot) -> str:
    return snapshot.fingerprint.to_version()


def _offenders(
    opened: Project, connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, now: datetime
) -> list[tuple[str, str]]:
    """Return (event type, event id) of the events without which the model's query passes; none when there are no such
    events, or too many.
    """
    deadline = time.monotonic() + MOST_SECONDS
    total = _number_events(connection)
    try:
        for sql in _queries(opened, snapshot, now):

            def fails(without: Collection[Part], sql: str = sql) -> bool:
                if time.monotonic() > deadline:
                    raise _GaveUp
                return _fails(connection, sql, without)

            if fails([]):
                return _named(connection, _least(fails, total))
    except _GaveUp:
        pass
    except duckdb.Error:  # not the model's error: the query depends on more than events
        pass
    finally:
        connection.execute("DROP TABLE IF EXISTS temp.main.numbered; DROP TABLE IF EXISTS temp.main.left_out")
    return []


def _least(fails: Callable[[Collection[Part]], bool], total: int) -> list[int]:
    """Return numbers of events without which the query passes, looked for among the newest first; none when it fails
    without any.
    """
    for last in sorted({min(newest or total, total) for newest in NEWEST}):
        if last and not fails([(1, last)]):
            return _bisect(fails, (1, last), [])
    return []


def _bisect(fails: Callable[[Collection[Part]], bool], part: Part, without: list[Part]) -> list[int]:
    """Return numbers of events in `part` without which the query passes. It fails `without` those, and passes without
    all of `part`.
    """
    first, last = part
    if first == last:
        return [first]
    middle = (first + last) // 2
    left, right = (first, middle), (middle + 1, last)
    for half in (left, right):
        if not fails([*without, half]):
            return _bisect(fails, half, without)
    found = _bisect(fails, right, [*without, left])
    rest = [*without, *((number, number) for number in found)]
    found += _bisect(fails, left, rest) if fails(rest) else []
    if len(found) > MOST_HELD:
        raise _GaveUp
    return found


def _number_events(connection: duckdb.DuckDBPyConnection) -> int:
    """Give each event a number, the newest first."""
    parts = of_every_type(EVENT_TYPES, "SELECT '{name}' AS kind, event_id, ingested_at FROM raw.{table}")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE numbered AS "
        "SELECT row_number() OVER (ORDER BY ingested_at DESC, kind, event_id) AS number, "
        f"kind, event_id FROM ({parts})"
    )
    row = first_row(connection.execute("SELECT count(*) FROM temp.main.numbered"))
    return int(row[0]) if row else 0


def _fails(connection: duckdb.DuckDBPyConnection, sql: str, without: Collection[Part]) -> bool:
    """Return whether the query fails on data, without these events. Its rows are really made: otherwise unused columns
    are not computed.
    """
    listed = " OR ".join(f"number BETWEEN {first} AND {last}" for first, last in without) or "FALSE"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE left_out AS SELECT kind, event_id FROM temp.main.numbered WHERE {listed}"
    )
    try:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE tried AS {sql}")
    except DATA_ERRORS:
        return True
    finally:
        connection.execute("DROP TABLE IF EXISTS temp.main.tried")
    return False


def _named(connection: duckdb.DuckDBPyConnection, numbers: Collection[int]) -> list[tuple[str, str]]:
    return connection.execute(
        "SELECT kind, event_id FROM temp.main.numbered WHERE list_contains(?, number)", [sorted(numbers)]
    ).fetchall()


def _queries(opened: Project, snapshot: Snapshot, now: datetime) -> Iterator[str]:
    """Yield the model's query over the days that it was to make, then over all: it may read days before, or all of a
    table.
    """
    ranges = opened.console.planned.get(snapshot.name)
    if ranges and snapshot.is_incremental_by_time_range:
        yield from _down_to_raw(opened, snapshot, datetime.fromtimestamp(ranges[0][0] / 1000, UTC), now)
    yield from _down_to_raw(opened, snapshot, datetime(1970, 1, 1, tzinfo=UTC), now)


def _down_to_raw(opened: Project, snapshot: Snapshot, start: datetime, now: datetime) -> Iterator[str]:
    """Return the query with every SQL model before it written out, and with raw events left out as `left_out` says."""
    from sqlglot import exp

    snapshots = {each.name: each for each in opened.snapshots()}
    query = snapshot.model.render_query(
        start=start,
        end=now.replace(tzinfo=UTC) + timedelta(days=1),  # also of events a little ahead of the clock
        execution_time=now.replace(tzinfo=UTC),
        snapshots=snapshots,
        expand=[name for name in opened.context.dag.upstream(snapshot.name) if name in snapshots],
        engine_adapter=opened.context.engine_adapter,
    )
    if query is None:
        return
    kinds = {each.table: each.name for each in EVENT_TYPES.values()}
    for table in list(query.find_all(exp.Table)):
        if table.db == "raw" and table.name in kinds:
            table.replace(_thinned(table, kinds[table.name]))
    yield query.sql(dialect="duckdb")


def _thinned(table: exp.Table, kind: str) -> exp.Expr:
    from sqlglot import parse_one

    return parse_one(
        f"SELECT * FROM lake.raw.{table.name} WHERE NOT event_id IN "
        f"(SELECT event_id FROM temp.main.left_out WHERE kind = '{kind}')",
        dialect="duckdb",
    ).subquery(alias=table.alias_or_name)
