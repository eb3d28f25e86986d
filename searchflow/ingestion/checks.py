"""Before the commit: a batch becomes columns, and what breaks the contract is set aside with its reason.

Needs no transaction, no lock and no warehouse: any DuckDB connection will do. Lines are decoded one by one in C
(msgspec); what only whole columns show cheaply is asked of DuckDB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from searchflow import events
from searchflow.events import Rejection
from searchflow.ingestion.source import SourceBatch

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass
class Prepared:
    """A batch after validation: Arrow columns by event type, and what was rejected (line position, bytes, why)."""

    columns: dict[str, pa.Table]
    rejected: list[tuple[str, bytes, Rejection]]
    lines: list[bytes]
    line_positions: list[str]


@dataclass(frozen=True)
class Limits:
    """What the settings say about time."""

    history_start: datetime
    future_tolerance: timedelta
    lateness: timedelta


def prepare(
    connection: duckdb.DuckDBPyConnection, batch: SourceBatch, only: str | None, now: datetime, limits: Limits
) -> Prepared:
    """Validate a batch against the contract; `only` is the single event type its source may hold."""
    good, decoded, refused = events.decode(batch.lines)
    rejected = list(batch.broken)
    rejected += [(batch.line_positions[index], batch.lines[index], why) for index, why in refused.items()]
    by_type: dict[str, tuple[list[int], list[events.Event]]] = {}
    for index, event in zip(good, decoded, strict=True):
        indices, members = by_type.setdefault(events.EVENT_TYPE_OF[type(event)], ([], []))
        indices.append(index)
        members.append(event)
    prepared = Prepared({}, rejected, batch.lines, batch.line_positions)
    for event_type, (indices, members) in by_type.items():
        if only is not None and event_type != only:
            why = Rejection("invalid_value", f"event_type is {event_type} in the stream of {only} events", event_type)
            rejected += [(batch.line_positions[index], batch.lines[index], why) for index in indices]
            continue
        table = _columns(batch, indices, members, rejected)
        prepared.columns[event_type] = _checked(connection, table, event_type, batch, rejected, now, limits)
    return prepared


def _columns(
    batch: SourceBatch,
    indices: list[int],
    members: Sequence[events.Event],
    rejected: list[tuple[str, bytes, Rejection]],
) -> pa.Table:
    """The raw columns of one event type. Bytes that are not UTF-8 in a field nobody decodes are found here."""
    payload = pa.array([batch.lines[index] for index in indices], type=pa.binary())
    try:
        payload = payload.cast(pa.string())
    except pa.ArrowInvalid:
        keep = []
        for place, index in enumerate(indices):
            found = events.explain(batch.lines[index])
            if isinstance(found, Rejection):
                rejected.append((batch.line_positions[index], batch.lines[index], found))
            else:
                keep.append(place)
        indices, members = [indices[place] for place in keep], [members[place] for place in keep]
        payload = pa.array([batch.lines[index] for index in indices], type=pa.binary()).cast(pa.string())
    return pa.table(
        {
            "seq": pa.array(indices, type=pa.int64()),
            "event_id": pa.array([event.event_id for event in members], type=pa.string()),
            "event_ts": _microseconds(members).cast(pa.timestamp("us")),
            "user_id": pa.array([event.user_id for event in members], type=pa.string()),
            "session_id": pa.array([event.session_id for event in members], type=pa.string()),
            "payload": payload,
        }
    )


def _microseconds(members: Sequence[events.Event]) -> pa.Array:
    """Microseconds since 1970 in UTC. Arrow makes them of datetimes with a zone at half the speed."""
    return pa.array([(event.timestamp - EPOCH) // MICROSECOND for event in members], type=pa.int64())


# What only whole columns show cheaply. The order is the order in which reasons are given.
CHECKS = {
    "uuid": ("invalid_value", "event_id (a string) is not a UUID"),
    "json": ("invalid_json", "the document holds text or a number that the warehouse cannot read"),
    "nul": ("invalid_value", "an identifier (a string) holds a NUL character"),
    "future": ("timestamp_in_future", "timestamp is more than {tolerance:.0f} minutes ahead of our clock"),
    "old": ("timestamp_too_old", "timestamp is before the start of history ({start:%Y-%m-%d})"),
}

COLUMN_CHECKS = """
    SELECT CAST(TRY_CAST(event_id AS UUID) AS VARCHAR) AS event_id, json_valid(payload) AS readable,
           contains(session_id, chr(0)) OR contains(coalesce(user_id, ''), chr(0)) AS nul
    FROM incoming
"""


def _checked(
    connection: duckdb.DuckDBPyConnection,
    table: pa.Table,
    event_type: str,
    batch: SourceBatch,
    rejected: list[tuple[str, bytes, Rejection]],
    now: datetime,
    limits: Limits,
) -> pa.Table:
    """Canonical ids, sorted by them; rows that fail a column check go to `rejected`."""
    connection.register("incoming", table)
    try:
        checked = connection.execute(COLUMN_CHECKS).to_arrow_table()
    finally:
        connection.unregister("incoming")
    # The payloads do not travel through the query: copying them would cost more than all checks together.
    table = table.set_column(table.schema.get_field_index("event_id"), "event_id", checked.column("event_id"))
    problems = _problems(table, checked, now, limits)
    for place in pc.indices_nonzero(pc.is_valid(problems)).to_pylist():
        code, text = CHECKS[problems[place].as_py()]
        minutes = limits.future_tolerance.total_seconds() / 60
        why = Rejection(code, text.format(tolerance=minutes, start=limits.history_start), event_type)
        index = table.column("seq")[place].as_py()
        rejected.append((batch.line_positions[index], batch.lines[index], why))
    if problems.null_count < len(problems):
        table = table.filter(pc.is_null(problems))
    # Sorted here, beside the commit of the batch before: files whose ids are sorted are read in part when an id is
    # looked for, and compress better.
    return table.take(pc.sort_indices(table.column("event_id"))).combine_chunks()


def _problems(table: pa.Table, checked: pa.Table, now: datetime, limits: Limits) -> pa.Array:
    """The first of `CHECKS` that each row fails, or null."""
    times = table.column("event_ts")
    latest, earliest = (_naive(moment) for moment in (now + limits.future_tolerance, limits.history_start))
    failed = (
        pc.is_null(checked.column("event_id")),
        pc.invert(checked.column("readable")),
        checked.column("nul"),
        pc.greater(times, latest),
        pc.less(times, earliest),
    )
    flags = pa.StructArray.from_arrays([column.combine_chunks() for column in failed], names=list(CHECKS))
    return pc.case_when(flags, *(pa.scalar(name) for name in CHECKS))


def _naive(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment.astimezone(UTC).replace(tzinfo=None), type=pa.timestamp("us"))
