"""The contract of a source: something that gives lines after a position, the same lines for the same position.

To read another log, add one more module with a class of this shape; the worker and the commit know nothing else about
it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from searchflow.events import Rejection
from searchflow.lines import LongLine

MAX_BATCH_BYTES = 32 * 1024 * 1024
"""The most bytes in a batch, after decompression. With reading ahead, three batches of each worker are in memory."""


@dataclass
class SourceBatch:
    """Lines as they were received, with where each stands in the source.

    `broken` holds what is not even a line (an entry that does not decompress): position, bytes, why.
    `position` is where the next read goes on when this batch is committed. `traces` names the spans that published
    its lines, where producers say so.
    """

    lines: list[bytes]
    line_positions: list[str]
    position: str
    broken: list[tuple[str, bytes, Rejection]] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)
    size: int = 0
    """Bytes of lines and of what is kept of broken ones."""

    def add(self, line: bytes | LongLine, place: str, event_type: str | None = None) -> None:
        """Add one more line and where it stands. A line that is too large is broken."""
        if isinstance(line, LongLine):
            self.broken.append((place, line.head, line.rejection(event_type)))
            self.size += len(line.head)
        else:
            self.lines.append(line)
            self.line_positions.append(place)
            self.size += len(line)

    @property
    def full(self) -> bool:
        """Return True when the batch holds as many bytes as it may."""
        return self.size >= MAX_BATCH_BYTES

    @property
    def received(self) -> int:
        """Return how many inputs this batch accounts for."""
        return len(self.lines) + len(self.broken)


class Source(Protocol):
    """A source: where events come from."""

    shard: str
    """The table of positions this source belongs to: an event type, `file` or `direct`."""
    key: str
    """The key under which its position is stored; stable over restarts."""
    name: str
    """The name that is written into the column `source` of raw rows."""
    event_type: str | None
    """The only event type it may hold, or None for any."""

    def read(self, after: str | None, *, limit: int, wait_seconds: float = 0.0) -> SourceBatch | None:
        """Return about `limit` lines behind position `after` (None: from the start), or None when there are none."""
        ...

    def committed(self, position: str) -> None:
        """Hear that everything up to `position` is safe in the warehouse: the source may forget it."""
        ...
