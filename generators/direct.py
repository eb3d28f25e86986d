"""Lines straight into the warehouse, through the same checks and commits as every other source (`ingest_lines`)."""

from __future__ import annotations

import hashlib
import time
from types import TracebackType
from typing import Self

import msgspec

from generators.settings import SimulationSettings
from generators.simulation import Batch
from searchflow.ingestion import ingest_lines
from searchflow.ingestion.commit import Counts
from searchflow.settings import Settings

COMMIT_LINES, COMMIT_SECONDS = 20_000, 1.0


class WarehousePublisher:
    """A publisher that stores each line of a channel once: a run that is repeated from its start skips what was
    stored."""

    def __init__(self, settings: Settings, channel: str) -> None:
        self._settings, self._channel = settings, channel
        self._waiting: list[bytes] = []
        self._committed, self._last = 0, time.monotonic()
        self.counts = Counts()

    def publish(self, batch: Batch) -> int:
        """Take the lines; commit when there are many, or once a second."""
        lines = batch.mixed()
        self._waiting += lines
        if len(self._waiting) >= COMMIT_LINES or time.monotonic() - self._last >= COMMIT_SECONDS:
            self._commit()
        return len(lines)

    def _commit(self) -> None:
        if self._waiting:
            self.counts.add(ingest_lines(self._settings, self._waiting, channel=self._channel, offset=self._committed))
            self._committed += len(self._waiting)
            self._waiting = []
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._commit()


def channel_of(world: SimulationSettings, begin: str) -> str:
    """Return the channel of a range: the same world and the same beginning send the same lines in the same order."""
    return f"generate:{hashlib.sha256(msgspec.json.encode(world)).hexdigest()[:12]}:{begin}"
