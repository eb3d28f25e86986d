"""Redis streams as a source. The position is the id of the last entry read."""

from __future__ import annotations

import redis

from searchflow import streams
from searchflow.errors import ServiceError, SourceGapError
from searchflow.events import Rejection
from searchflow.ingestion.source import SourceBatch

ENTRIES_A_READ = 64
"""A batched entry holds about 500 events: enough entries for a commit in few round trips, without reading far ahead."""
SINGLE_ENTRIES_A_READ = 10_000


class StreamSource:
    """The stream of one event type."""

    def __init__(self, client: redis.Redis, event_type: str, *, trim: bool = True) -> None:
        self.client = client
        self.event_type: str | None = event_type
        self.shard = event_type
        self.key = self.name = streams.EVENT_STREAMS[event_type]
        self._trim = trim

    def check_gap(self, after: str | None) -> None:
        """Raise a SourceGapError when entries behind our position were removed before we read them."""
        if after is None:  # a first start: what was there before us was never ours to read
            return
        removed = streams.last_removed(self.client, self.name)
        if streams.as_pair(removed) > streams.as_pair(after):
            raise SourceGapError(
                f"The stream {self.name} was trimmed up to {removed}, but we had read only up to {after}: the entries "
                "between are gone. Publish them again from their producer (what we have is dropped as duplicates), then "
                f"accept the gap with `searchflow ingest --accept-gap {self.event_type}`."
            )

    def read(self, after: str | None, *, limit: int, wait_seconds: float = 0.0) -> SourceBatch | None:
        try:
            self.check_gap(after)
            return self._read(after or streams.START, limit, wait_seconds)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise ServiceError(
                f"The stream server stopped answering ({type(error).__name__}). Nothing is lost: run the same again "
                "once `searchflow status` shows it is back."
            ) from error

    def _read(self, after: str, limit: int, wait_seconds: float) -> SourceBatch | None:
        batch = SourceBatch([], [], after)
        count = ENTRIES_A_READ
        while len(batch.lines) < limit:
            block = int(wait_seconds * 1000) if wait_seconds and not batch.received else None
            entries = streams.read(self.client, self.name, batch.position, entries=count, block_ms=block)
            if not entries:
                break
            for entry_id, fields in entries:
                self._take(batch, entry_id, fields)
            batch.position = entries[-1][0]
            if batch.received < 2 * len(entries):  # producers that write one event an entry
                count = SINGLE_ENTRIES_A_READ
        return batch if batch.position != after else None

    def _take(self, batch: SourceBatch, entry_id: str, fields: dict[bytes, bytes]) -> None:
        try:
            lines = streams.decode(fields)
        except ValueError as error:
            code = "missing_field" if b"data" not in fields else "invalid_value"
            content = fields.get(b"data") or b"\n".join(b"%s=%s" % item for item in fields.items())
            batch.broken.append((entry_id, content, Rejection(code, str(error), self.event_type)))
            return
        batch.lines += lines
        batch.line_positions += [f"{entry_id}:{number}" for number in range(1, len(lines) + 1)]

    def committed(self, position: str) -> None:
        if self._trim:
            streams.trim(self.client, self.name, position)
