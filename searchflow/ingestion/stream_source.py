"""Redis streams as a source of events."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from searchflow import streams
from searchflow.errors import ServiceError, SourceGapError
from searchflow.events import MAX_EVENT_BYTES, Rejection
from searchflow.ingestion.source import SourceBatch
from searchflow.lines import LongLine

LINES_AN_ENTRY = 500
"""The number of lines that a batched entry holds, about."""
ENTRIES_A_READ = 64
"""Entries in one read: enough for a commit in few round trips, without reading far ahead."""
FIRST_ENTRIES = 8
"""Entries in the first read, before we know how large this producer's entries are."""
ANSWER_BYTES = 64 * 1024 * 1024
SINGLE_ENTRIES_A_READ = 10_000
TRACE_BYTES = 128
"""The most bytes of a trace. A W3C traceparent has 55; whatever is longer is something else."""


@dataclass(frozen=True)
class StreamPosition:
    """The id of the last entry read, and how many entries of the stream lie up to it, those removed included."""

    entry_id: str
    entries: int

    def text(self) -> str:
        """Return the position as it is stored, for example `1763856000000-0/1200`."""
        return f"{self.entry_id}/{self.entries}"

    @classmethod
    def parse(cls, text: str) -> StreamPosition:
        """Read a position from its stored text."""
        entry_id, _, entries = text.partition("/")
        return cls(entry_id, int(entries))


class StreamSource:
    """One stream (shard) of one event type, as a source."""

    def __init__(self, client: redis.Redis, event_type: str, shard: int = 0, *, trim: bool = True) -> None:
        self.client = client
        self.event_type: str | None = event_type
        self.shard = event_type
        self.key = self.name = streams.shard_name(event_type, shard)
        self._trim = trim
        self._entries_a_read = FIRST_ENTRIES

    def read(self, after: str | None, *, limit: int, wait_seconds: float = 0.0) -> SourceBatch | None:
        """Return a batch of lines behind position `after`, as every `Source` does."""
        try:
            return self._read(self._place(after), limit, wait_seconds)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise ServiceError(
                f"The stream server stopped answering ({type(error).__name__}). Nothing is lost: run the same again "
                "once `searchflow status` shows it is back."
            ) from error

    def _place(self, after: str | None) -> StreamPosition:
        """Find where to go on. Entries leave a stream oldest first, so more removed than read means that some were
        lost.
        """
        state = streams.state(self.client, self.name)
        if after is None:  # a first start: what was there before us was never ours to read
            return StreamPosition(streams.START, state.removed)
        place = StreamPosition.parse(after)
        if streams.as_pair(state.last_id) <= streams.as_pair(place.entry_id):
            # All is read. Count again from here: a server that crashed may have forgotten entries that we have.
            return StreamPosition(place.entry_id, state.added)
        if state.removed > place.entries:
            raise SourceGapError(
                f"{state.removed - place.entries:,} entries of the stream {self.name} behind {place.entry_id} were "
                "removed before we read them. Publish them again from their producer (what we have is dropped as "
                f"duplicates), then go on with `searchflow ingest --accept-gap {self.event_type}`."
            )
        return place

    def _read(self, place: StreamPosition, limit: int, wait_seconds: float) -> SourceBatch | None:
        batch, entry_id, taken = SourceBatch([], [], ""), place.entry_id, 0
        count = max(1, min(self._entries_a_read, limit // LINES_AN_ENTRY))
        while batch.received < limit and not batch.full:
            block = int(wait_seconds * 1000) if wait_seconds and not taken else None
            entries = streams.read(self.client, self.name, entry_id, entries=count, block_ms=block)
            if not entries:
                break
            for found_id, fields in entries:
                self._take(batch, found_id, fields)
                entry_id, taken = found_id, taken + 1
                if batch.full:  # the others are read again, behind this one
                    break
            self._adapt(entries)
            count = max(1, min(self._entries_a_read, count))
            if batch.received < 2 * taken:  # producers that write one event an entry
                count = max(1, min(SINGLE_ENTRIES_A_READ, self._entries_a_read * 200, limit - batch.received))
        batch.position = StreamPosition(entry_id, place.entries + taken).text()
        return batch if taken else None

    def _take(self, batch: SourceBatch, entry_id: str, fields: dict[bytes, bytes]) -> None:
        try:
            lines = streams.decode_bounded(fields)
        except ValueError as error:
            self._refuse(batch, entry_id, fields, error)
            return
        for number, line in enumerate(lines, 1):
            batch.add(line, f"{entry_id}:{number}", self.event_type)
        trace = fields.get(b"traceparent")
        if trace is not None and len(trace) <= TRACE_BYTES:
            batch.traces.append(trace.decode("ascii", "replace"))

    def _refuse(self, batch: SourceBatch, entry_id: str, fields: dict[bytes, bytes], error: ValueError) -> None:
        """Make one dead letter of an entry that holds no lines."""
        content = fields.get(b"data") or b"\n".join(b"%s=%s" % item for item in fields.items())
        long = LongLine(content)
        if isinstance(error, streams.EntryTooLarge) or long.length > MAX_EVENT_BYTES:
            why = Rejection("too_large", f"{error}. {long.rejection().reason}", self.event_type)
        else:
            code = "missing_field" if b"data" not in fields else "invalid_value"
            why = Rejection(code, str(error), self.event_type)
        batch.broken.append((entry_id, long.head, why))
        batch.size += len(long.head)

    def _adapt(self, entries: list[tuple[str, dict[bytes, bytes]]]) -> None:
        """Ask for fewer entries after large ones: an answer is in memory as a whole."""
        largest = max(sum(map(len, fields.values())) for _, fields in entries)
        self._entries_a_read = max(1, min(ENTRIES_A_READ, self._entries_a_read * 2, ANSWER_BYTES // max(largest, 1)))

    def committed(self, position: str) -> None:
        """Remove the entries up to `position` from a stream that is trimmed: they are safe in the warehouse."""
        if self._trim:
            streams.trim(self.client, self.name, StreamPosition.parse(position).entry_id)
