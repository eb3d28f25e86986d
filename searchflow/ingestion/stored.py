"""Which events of a batch are stored already: looked up in the transaction that writes them, or ahead of it.

A look ahead runs while the batch before is committed, on a connection of its own. It reads the version of the event
type's guard row (`positions`) in the same snapshot. A writer that stores events of a type moves its guard, in the same
transaction, so an unchanged version says that no event of the type came since, and the look still holds. A version that
moved once, by this worker's own last commit, says that only that commit's rows came: the batch is in memory, and its
events are compared there. In all other cases, and when a transaction is repeated after a lost race, the look is made
again in the transaction.

Events that the batch before has too are left out of a look ahead. Otherwise a producer that sends its last events again
would make it read the rows of another batch's time for a few copies.

Other changes of the raw tables leave the guard alone, and do no harm:

- A flush or a merge moves rows between files; no row changes.
- An erasure deletes the rows of a person and cuts mentions of them out of other documents, while no commit can happen.
  A look from before may still know them. Documents that it found are compared with and never written. Lines that name
  the person are set aside before they are compared (`ingestion.tombstones`, read by the commit under the lock of the
  erasure), and no dead letter keeps bytes that name them. What is left is another user's line with the id of an erased
  event: it is refused as the conflicting duplicate that it was when it came, and may be replayed.
- Deletion of old files may take one away from under a look ahead, which holds no lock. When a look ahead fails,
  the transaction looks itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from searchflow import warehouse
from searchflow.ingestion import checks, positions
from searchflow.ingestion.positions import Guard

LOOKBACK = timedelta(hours=24)
"""The time before and after the batch's events in which stored rows are searched for the same event_id. An exact
duplicate has the same timestamp as its original, so it always lies in there; the margin finds conflicting ones with
another timestamp."""
MOST_MOMENTS = 50
"""The most commits that a query for their rows names. With more, the rows are looked for in all commits."""

Originals = dict[int, bytes]
"""`seq` of an event whose event_id is stored -> the stored document."""


@dataclass(frozen=True)
class FoundEvents:
    """What a look ahead found of one event type.

    `version` is that of the type's guard. `repeats` are events (`seq` -> event_id) that the batch `before` has too.
    They were not looked up: when that batch is committed, its worker has what is stored of them in memory.
    """

    version: int
    originals: Originals
    repeats: Mapping[int, str]
    before: checks.PreparedBatch | None


Looks = Mapping[str, FoundEvents]
"""Looks ahead, keyed by event type."""


class LooksAhead:
    """A finder that looks up the events of a batch before its transaction, beside the connection that commits."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = warehouse.beside(connection)

    def look(self, batch: checks.PreparedBatch, before: checks.PreparedBatch | None) -> Looks:
        """Look up a batch's events of every type in one snapshot. Return none when it cannot be read now. `before` is
        the batch before it.
        """
        try:
            with warehouse.transaction(self._connection):
                return {
                    event_type: self._look(event_type, table, before) for event_type, table in batch.columns.items()
                }
        except duckdb.Error:
            return {}  # the transaction looks itself, and reports the error if it happens again

    def _look(self, event_type: str, table: pa.Table, before: checks.PreparedBatch | None) -> FoundEvents:
        version = positions.read_guard(self._connection, event_type).version
        repeats: Mapping[int, str] = {}
        if before is not None and event_type in before.columns:
            repeated = _has_ids(table, before.columns[event_type].column("event_id"))
            again, table = table.filter(repeated), table.filter(pc.invert(repeated))
            repeats = dict(zip(again.column("seq").to_pylist(), again.column("event_id").to_pylist(), strict=True))
        return FoundEvents(version, look(self._connection, event_type, table), repeats, before)

    def close(self) -> None:
        """Close the connection. No look may be under way."""
        self._connection.close()


@dataclass(frozen=True)
class Committed:
    """A batch that is committed: events by type, and the stored documents (by type) of the events that it did not
    store.
    """

    batch_id: str
    prepared: checks.PreparedBatch
    columns: Mapping[str, pa.Table]
    originals: Mapping[str, Originals]

    def documents(self, event_type: str, ids: Collection[str]) -> dict[str, bytes]:
        """Return what is stored of those ids that the batch has."""
        table = self.columns.get(event_type)
        if table is None or not ids:
            return {}
        mine = table.filter(_has_ids(table, pa.array(ids, type=pa.string())))
        pairs = zip(mine.column("event_id").to_pylist(), mine.column("seq").to_pylist(), strict=True)
        originals, lines = self.originals[event_type], self.prepared.lines
        return {event_id: originals.get(seq, lines[seq]) for event_id, seq in pairs}


class KnownEvents:
    """What a worker knows when a transaction begins: the looks ahead for its batch, and the batch committed last.

    Looks serve one attempt of a transaction: a caller that repeats it looks again.
    """

    def __init__(self) -> None:
        self._looks: Looks = {}
        self._last: Committed | None = None

    def looked(self, looks: Looks) -> None:
        """Set the looks ahead for the next transaction."""
        self._looks = looks

    def take(self) -> Looks:
        """Return the looks, once: a second call returns none."""
        looks, self._looks = self._looks, {}
        return looks

    def committed(self, batch: Committed | None) -> None:
        """Keep the last commit in memory until the next. It is None when its batch is not known in full."""
        self._last = batch

    def originals(self, look: FoundEvents | None, guard: Guard, event_type: str) -> Originals | None:
        """Return the stored documents of a batch's events, or None when the look does not say all of them any more."""
        if look is None:
            return None
        last = self._last if self._last is not None and self._last.prepared is look.before else None
        if look.before is not None and last is None:
            return None
        ours = last is not None and guard.batch_id == last.batch_id
        if guard.version != look.version and not (guard.version == look.version + 1 and ours):
            return None
        if last is None:
            return look.originals
        documents = last.documents(event_type, set(look.repeats.values()))
        return look.originals | {seq: documents[event_id] for seq, event_id in look.repeats.items()}


def complete(table: pa.Table, lines: Sequence[bytes], known: Originals) -> Originals:
    """Return the original of each event of the table that has one: an earlier line of the batch, or a stored document.

    `known` may hold other events too: a look ahead does not know who was forgotten meanwhile.
    """
    originals = {**_repeated(table, lines), **known}
    if not originals:
        return {}
    mine = table.filter(pc.is_in(table.column("seq"), value_set=pa.array(originals, type=pa.int64())))
    return {seq: originals[seq] for seq in mine.column("seq").to_pylist()}


def _repeated(table: pa.Table, lines: Sequence[bytes]) -> dict[int, bytes]:
    """Return the `seq` of rows whose event_id an earlier line of the batch has, with that line. Equal ids stand side by
    side.
    """
    ids = table.column("event_id").combine_chunks()
    same = pc.equal(ids[1:], ids[:-1])
    groups: dict[str, list[int]] = {}
    for place in pc.indices_nonzero(same).to_pylist():
        group = groups.setdefault(ids[place].as_py(), [table.column("seq")[place].as_py()])
        group.append(table.column("seq")[place + 1].as_py())
    return {later: lines[min(group)] for group in groups.values() for later in group if later != min(group)}


def _has_ids(table: pa.Table, ids: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    return pc.is_in(table.column("event_id"), value_set=ids)


def _matched(table: pa.Table, documents: Mapping[str, bytes]) -> Originals:
    """Return the `seq` of each event that has one of the ids, with the document of that id."""
    mine = table.filter(_has_ids(table, pa.array(documents, type=pa.string())))
    pairs = zip(mine.column("seq").to_pylist(), mine.column("event_id").to_pylist(), strict=True)
    return {seq: documents[event_id] for seq, event_id in pairs}


def look(connection: duckdb.DuckDBPyConnection, event_type: str, table: pa.Table) -> Originals:
    """Return the stored documents of events whose event_id is stored on the days around theirs.

    Ids are read first, documents then: most batches hold few events that are stored, and the documents of a day are
    many times as large as its ids. The moments at which those few were stored say which files, and which parts of them,
    hold their documents.
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
    """Return the days of events, in order."""
    return sorted(pc.unique(pc.cast(table.column("event_ts"), pa.date32(), safe=False)).to_pylist())


def _around(
    connection: duckdb.DuckDBPyConnection,
    event_type: str,
    runs: Sequence[tuple[date, date]],
    columns: str,
    ids: pa.Table,
    moments: Sequence[datetime] = (),
) -> pa.Table:
    """Return columns of stored events that have one of the ids. If `moments` are given, only events ingested then are
    read.

    The query states the bounds as values, so that DuckDB skips whole files and parts of files: a join alone reads them.
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
    """Return runs of nearby days, so that a single very late event does not make us read everything in between."""
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
