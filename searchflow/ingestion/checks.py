"""Checks before the commit: a batch becomes columns, and each line that breaks the contract is set aside with its
reason.

The checks need no transaction, no lock and no warehouse: any DuckDB connection will do. Lines are decoded one by one in
C (msgspec); DuckDB makes the checks that are cheap on whole columns only. The lines themselves stay where they are:
they are ten times as large as all columns, so the commit copies them once, when it is known which are stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from searchflow import events
from searchflow.events import Rejection
from searchflow.ingestion import repeats
from searchflow.ingestion.shapes import Shapes
from searchflow.ingestion.source import SourceBatch
from searchflow.lines import LongLine

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass
class PreparedBatch:
    """A batch after validation: Arrow columns by event type, and the rejected lines (line position, bytes, reason).

    The column `seq` says which of `lines` an event is. `unfamiliar` are the lines that hold something `shapes` did not
    know. Rows are sorted by event id: files whose ids are sorted compress better, and a look-up of an id reads only a
    part of them.
    """

    columns: dict[str, pa.Table]
    rejected: list[tuple[str, bytes, Rejection]]
    lines: list[bytes]
    line_positions: list[str]
    unfamiliar: Set[int]
    shapes: Shapes


BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""The byte order mark that some programs write in front of UTF-8. It says nothing about the event, and is not kept with
one.
"""


@dataclass(frozen=True)
class TimeLimits:
    """What the settings say about time, and the watermarks by which a load of files judges what is late."""

    history_start: datetime
    future_tolerance: timedelta
    lateness: timedelta
    load: Mapping[str, datetime | None] | None = None  # None: each commit moves them


def prepare(
    connection: duckdb.DuckDBPyConnection,
    batch: SourceBatch,
    only: str | None,
    now: datetime,
    limits: TimeLimits,
    shapes: Shapes | None = None,
) -> PreparedBatch:
    """Validate a batch against the contract. `only` is the single event type that its source may hold."""
    shapes = shapes or Shapes()
    members, refused, unfamiliar = _decoded(batch.lines, shapes)
    rules = _Rules(now, limits, _unreadable(connection, batch.lines, unfamiliar))
    rejected = list(batch.broken)
    rejected += [(batch.line_positions[index], *_kept(batch.lines[index], why)) for index, why in refused.items()]
    prepared = PreparedBatch({}, rejected, batch.lines, batch.line_positions, frozenset(unfamiliar), shapes)
    for event_type, found in members.items():
        if only is not None and event_type != only:
            why = Rejection("invalid_value", f"event_type is {event_type} in the stream of {only} events", event_type)
            rejected += [(batch.line_positions[index], batch.lines[index], why) for index in found.seq]
            continue
        prepared.columns[event_type] = _checked(connection, found.table(), event_type, prepared, rules)
    return prepared


def _kept(line: bytes, why: Rejection) -> tuple[bytes, Rejection]:
    """Return what a dead letter keeps of a line: all of it, or the head of a line that is too large."""
    if why.code != "too_large":
        return line, why
    long = LongLine(line)
    return long.head, long.rejection(why.event_type)


@dataclass
class _Members:
    """The events of one type, as columns in the order of their lines."""

    seq: list[int] = field(default_factory=list)
    event_id: list[str] = field(default_factory=list)
    timestamp: list[datetime] = field(default_factory=list)
    user_id: list[str | None] = field(default_factory=list)
    session_id: list[str | None] = field(default_factory=list)

    def add(self, seq: int, event: events.Event) -> None:
        self.seq.append(seq)
        self.event_id.append(event.event_id)
        self.timestamp.append(event.timestamp)
        self.user_id.append(event.user_id)
        self.session_id.append(event.session_id)

    def table(self) -> pa.Table:
        # Microseconds since 1970: Arrow takes twice as long to make them of datetimes with a zone.
        moments = pa.array([(moment - EPOCH) // MICROSECOND for moment in self.timestamp], type=pa.int64())
        return pa.table(
            {
                "seq": pa.array(self.seq, type=pa.int64()),
                "event_id": pa.array(self.event_id, type=pa.string()),
                "event_ts": moments.cast(pa.timestamp("us")),
                "user_id": pa.array(self.user_id, type=pa.string()),
                "session_id": pa.array(self.session_id, type=pa.string()),
            }
        )


def _decoded(lines: list[bytes], shapes: Shapes) -> tuple[dict[str, _Members], dict[int, Rejection], list[int]]:
    """Return (the events by type, line -> why it is no event, lines of events that the quick decoder did not take).

    Each event is taken apart as soon as it is decoded: all decoded events of a batch would fill the caches and the
    memory several times over.
    """
    whole = shapes.whole.decode
    by_type: dict[str, _Members] = {}
    by_class: dict[type, _Members] = {}
    refused: dict[int, Rejection] = {}
    unfamiliar: list[int] = []
    suspects = repeats.suspects(lines)
    for index, line in enumerate(lines):
        try:
            event = whole(line) if index not in suspects and events.is_plain(line) else None
        except events.UNDECODABLE:
            event = None
        if event is None:
            bare = line.removeprefix(BYTE_ORDER_MARK)
            found = _decoded_closely(bare, index in suspects)
            if isinstance(found, Rejection):
                refused[index] = found
                continue
            lines[index] = bare  # models read what is stored as JSON, and a line with a mark in front is not JSON
            event = found
            unfamiliar.append(index)
        kind = type(event)
        if kind not in by_class:
            by_class[kind] = by_type.setdefault(events.event_type_of(event), _Members())
        by_class[kind].add(index, event)
    return by_type, refused, unfamiliar


def _decoded_closely(line: bytes, suspect: bool) -> events.Event | Rejection:
    """Return the event, or why the line is none.

    It also finds bytes that are not UTF-8 in a field that no decoder reads and, in a suspect line, keys that the
    contract names and that stand in the document twice.
    """
    found = events.decode_one(line)
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return events.explain(line)
    kind = found.event_type if isinstance(found, Rejection) else events.event_type_of(found)
    if not suspect or kind is None or (isinstance(found, Rejection) and found.code in UNREADABLE):
        return found
    return _repeating(line, kind, repeats.named_keys(kind)) or found


UNREADABLE = ("too_large", "invalid_utf8", "invalid_json", "not_an_object")
"""Rejections of lines that are no documents with keys."""


def _repeating(line: bytes, event_type: str, named: frozenset[str]) -> Rejection | None:
    try:
        key = repeats.repeated(line, named)
    except (ValueError, RecursionError):
        return Rejection("invalid_json", "the document is nested too deeply to be read", event_type)
    if key is None:
        return None
    return Rejection("invalid_json", f"the key {key} stands in the document more than once", event_type)


def _unreadable(connection: duckdb.DuckDBPyConnection, lines: Sequence[bytes], doubtful: Sequence[int]) -> pa.Array:
    """Return which of the doubtful lines hold JSON that the warehouse cannot read (msgspec skips what it need not
    decode).
    """
    if not doubtful:
        return pa.array([], type=pa.int64())
    payloads = pa.array([lines[index] for index in doubtful], type=pa.binary()).cast(pa.string())
    connection.register("doubtful", pa.table({"seq": pa.array(doubtful, type=pa.int64()), "payload": payloads}))
    try:
        found = connection.execute("SELECT seq FROM doubtful WHERE NOT json_valid(payload)").to_arrow_table()
    finally:
        connection.unregister("doubtful")
    return found.column("seq").combine_chunks()


# Checks that are cheap on whole columns only. Reasons are given in this order.
CHECKS = {
    "uuid": ("invalid_value", "event_id (a string) is not a UUID"),
    "json": ("invalid_json", "the document holds text or a number that the warehouse cannot read"),
    "nul": ("invalid_value", "an identifier (a string) holds a NUL character"),
    "future": ("timestamp_in_future", "timestamp is more than {tolerance:.0f} minutes ahead of our clock"),
    "old": ("timestamp_too_old", "timestamp is before the start of history ({start:%Y-%m-%d})"),
}

COLUMN_CHECKS = """
    SELECT CAST(TRY_CAST(event_id AS UUID) AS VARCHAR) AS event_id,
           contains(coalesce(session_id, ''), chr(0)) OR contains(coalesce(user_id, ''), chr(0)) AS nul
    FROM incoming
"""


@dataclass(frozen=True)
class _Rules:
    """What columns are checked against: the clock, the settings, and lines that the warehouse cannot read."""

    now: datetime
    limits: TimeLimits
    unreadable: pa.Array


def _checked(
    connection: duckdb.DuckDBPyConnection, table: pa.Table, event_type: str, prepared: PreparedBatch, rules: _Rules
) -> pa.Table:
    """Return the columns with canonical ids, sorted by id. Rows that fail a column check go to `prepared.rejected`."""
    connection.register("incoming", table)
    try:
        checked = connection.execute(COLUMN_CHECKS).to_arrow_table()
    finally:
        connection.unregister("incoming")
    table = table.set_column(table.schema.get_field_index("event_id"), "event_id", checked.column("event_id"))
    problems = _problems(table, checked, rules)
    for place in pc.indices_nonzero(pc.is_valid(problems)).to_pylist():
        code, text = CHECKS[problems[place].as_py()]
        minutes = rules.limits.future_tolerance.total_seconds() / 60
        why = Rejection(code, text.format(tolerance=minutes, start=rules.limits.history_start), event_type)
        index = table.column("seq")[place].as_py()
        prepared.rejected.append((prepared.line_positions[index], prepared.lines[index], why))
    if problems.null_count < len(problems):
        table = table.filter(pc.is_null(problems))
    return table.take(pc.sort_indices(table.column("event_id"))).combine_chunks()


def _problems(table: pa.Table, checked: pa.Table, rules: _Rules) -> pa.Array:
    """Return the first of `CHECKS` that each row fails, or null."""
    times = table.column("event_ts")
    latest, earliest = (_naive(at) for at in (rules.now + rules.limits.future_tolerance, rules.limits.history_start))
    failed = (
        pc.is_null(checked.column("event_id")),
        pc.is_in(table.column("seq"), value_set=rules.unreadable),
        checked.column("nul"),
        pc.greater(times, latest),
        pc.less(times, earliest),
    )
    flags = pa.StructArray.from_arrays([column.combine_chunks() for column in failed], names=list(CHECKS))
    return pc.case_when(flags, *(pa.scalar(name) for name in CHECKS))


def _naive(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment.astimezone(UTC).replace(tzinfo=None), type=pa.timestamp("us"))
