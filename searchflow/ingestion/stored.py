"""Which events of a batch are stored already: looked up in the transaction that writes them, or ahead of it.

A look ahead runs while the batch before is committed, on a connection of its own. It reads the version of the event
type's guard row (`positions`) in the same snapshot. Whoever stores events of a type moves its guard, in the same
transaction, so an unchanged version says that no event of the type came since, and the look still holds. A version that
moved once, by this worker's own last commit, says that only the rows of that commit came: they are in memory and are
compared there. In all other cases, and when a transaction is repeated after a lost race, the look is made again in the
transaction.

What else changes the raw tables leaves the guard alone, and harms nothing:

- A flush or a merge moves rows between files; no row changes.
- An erasure deletes the rows of a person and cuts mentions of them out of other documents, while no commit can happen.
  A look from before may still know them. Documents that it found are compared with and never written. Lines that name
  the person are set aside before they are compared (`privacy.tombstones`, read by the commit under the lock of the
  erasure), and no letter keeps bytes that name them. What is left is a line of somebody else with the id of an erased
  event: it is refused as the conflicting duplicate that it was when it came, and may be replayed.
- Deletion of old files may take one away from under a look ahead, which holds no lock. A look ahead that fails counts
  as none, and the transaction looks itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from searchflow import warehouse
from searchflow.ingestion import positions
from searchflow.ingestion.positions import Guard

LOOKBACK = timedelta(hours=24)
"""Stored rows this long around the batch's events are searched for the same event_id. An exact duplicate has the same
timestamp as its original, so it always lies in there; the margin finds conflicting ones with another timestamp."""
MOST_MOMENTS = 50
"""Commits that a query for their rows may name; rows of more commits are looked for in all."""

Originals = dict[int, bytes]
"""`seq` of an event whose event_id is stored -> the stored document."""


@dataclass(frozen=True)
class Look:
    """What a look ahead found of one event type, and the version of the type's guard that it saw."""

    version: int
    originals: Originals


Looks = Mapping[str, Look]
"""By event type."""


class LooksAhead:
    """Looks up the events of a batch before its transaction, beside the connection that commits."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = warehouse.beside(connection)

    def look(self, columns: Mapping[str, pa.Table]) -> Looks:
        """The looks of a batch, all in one snapshot; none when it cannot be read now."""
        try:
            with warehouse.transaction(self._connection):
                return {event_type: self._look(event_type, table) for event_type, table in columns.items()}
        except duckdb.Error:
            return {}  # the transaction looks itself, and says what is wrong if it is still wrong then

    def _look(self, event_type: str, table: pa.Table) -> Look:
        version = positions.read_guard(self._connection, event_type).version
        return Look(version, look(self._connection, event_type, table))

    def close(self) -> None:
        """Close the connection. No look may be under way."""
        self._connection.close()


@dataclass(frozen=True)
class Written:
    """What one commit stored: rows by event type, whose `seq` says which of `lines` each was."""

    batch_id: str
    rows: Mapping[str, pa.Table]
    lines: Sequence[bytes]


class Known:
    """What a worker knows when a transaction begins: the looks ahead for this batch, and its own last commit.

    Looks serve one attempt of a transaction: whoever repeats it looks again.
    """

    def __init__(self) -> None:
        self._looks: Looks = {}
        self._written: Written | None = None

    def looked(self, looks: Looks) -> None:
        """Looks ahead for the next transaction."""
        self._looks = looks

    def take(self) -> Looks:
        """The looks, once."""
        looks, self._looks = self._looks, {}
        return looks

    def committed(self, written: Written) -> None:
        """The last commit. Its lines stay in memory until the next."""
        self._written = written

    def originals(self, look: Look | None, guard: Guard, event_type: str, table: pa.Table) -> Originals | None:
        """The stored documents of a batch's events, or None when the look says too little."""
        if look is None:
            return None
        if guard.version == look.version:
            return look.originals
        last = self._written
        if last is None or guard.version != look.version + 1 or guard.batch_id != last.batch_id:
            return None
        rows = last.rows.get(event_type)
        return look.originals if rows is None else {**look.originals, **_among(table, rows, last.lines)}


def _among(table: pa.Table, rows: pa.Table, lines: Sequence[bytes]) -> Originals:
    """`seq` of events that have the id of one of the rows, with that row's line."""
    theirs = rows.filter(pc.is_in(rows.column("event_id"), value_set=table.column("event_id").combine_chunks()))
    if not len(theirs):
        return {}
    pairs = zip(theirs.column("event_id").to_pylist(), theirs.column("seq").to_pylist(), strict=True)
    return _matched(table, {event_id: lines[seq] for event_id, seq in pairs})


def _matched(table: pa.Table, documents: Mapping[str, bytes]) -> Originals:
    """`seq` of each event that has one of the ids, with the document of that id."""
    mine = table.filter(pc.is_in(table.column("event_id"), value_set=pa.array(documents, type=pa.string())))
    pairs = zip(mine.column("seq").to_pylist(), mine.column("event_id").to_pylist(), strict=True)
    return {seq: documents[event_id] for seq, event_id in pairs}


def look(connection: duckdb.DuckDBPyConnection, event_type: str, table: pa.Table) -> Originals:
    """The stored documents of events whose event_id is stored on the days around theirs.

    Ids first, documents then: most batches hold few events that are stored, and the documents of a day are many times
    as large as its ids. When those few were stored says which files, and which parts of them, hold their documents.
    """
    runs = _runs(days(table))
    if not runs:
        return {}
    known = _around(connection, event_type, runs, "event_id, ingested_at", table.select(["event_id"]))
    if not len(known):
        return {}
    moments = pc.unique(known.column("ingested_at")).to_pylist()
    found = _around(connection, event_type, runs, "event_id, payload", known.select(["event_id"]), moments)
    documents = zip(found.column("event_id").to_pylist(), found.column("payload").to_pylist(), strict=True)
    return _matched(table, {event_id: document.encode() for event_id, document in documents})


def days(table: pa.Table) -> list[date]:
    """The days of events, in order."""
    return sorted(pc.unique(pc.cast(table.column("event_ts"), pa.date32(), safe=False)).to_pylist())


def _around(
    connection: duckdb.DuckDBPyConnection,
    event_type: str,
    runs: Sequence[tuple[date, date]],
    columns: str,
    ids: pa.Table,
    moments: Sequence[datetime] = (),
) -> pa.Table:
    """Columns of stored events that have one of the ids; of those that were ingested at `moments`, if any are given.

    The bounds are written out, because that lets whole files and parts of files be left aside: a join alone reads them.
    """
    bounds = pc.min_max(ids.column("event_id")).as_py()
    first_id, last_id = (uuid.UUID(bounds[end]) for end in ("min", "max"))  # nothing but digits and dashes
    at = ", ".join(f"TIMESTAMP '{moment}'" for moment in moments)
    ingested = f"AND s.ingested_at IN ({at})" if 0 < len(moments) <= MOST_MOMENTS else ""
    seconds = int(LOOKBACK.total_seconds())
    parts = [
        f"""
        SELECT {columns} FROM raw.{event_type}_events AS s SEMI JOIN ids USING (event_id)
        WHERE s.event_id BETWEEN '{first_id}' AND '{last_id}' {ingested}
          AND s.event_ts >= TIMESTAMP '{first} 00:00:00' - INTERVAL {seconds} SECONDS
          AND s.event_ts < TIMESTAMP '{last} 00:00:00' + INTERVAL {seconds + 86400} SECONDS
        """
        for first, last in runs  # one part a run of days, so that each is pruned by day
    ]
    connection.register("ids", ids)
    try:
        return connection.execute(" UNION ALL ".join(parts)).to_arrow_table()
    finally:
        connection.unregister("ids")


def _runs(days: Sequence[date], most: int = 8) -> list[tuple[date, date]]:
    """Runs of nearby days, so that a single very late event does not make us read everything in between."""
    runs: list[tuple[date, date]] = []
    for day in sorted(days):
        if runs and day - runs[-1][1] <= timedelta(days=3):
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    while len(runs) > most:
        gaps = [(runs[i + 1][0] - runs[i][1], i) for i in range(len(runs) - 1)]
        _, closest = min(gaps)
        runs[closest : closest + 2] = [(runs[closest][0], runs[closest + 1][1])]
    return runs
