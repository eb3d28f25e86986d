"""A direct call as a source: a program hands over lines. They are stored exactly once, by the channel and the number of
the first line.

from searchflow.ingestion import ingest_lines, next_offset

offset = next_offset(settings, "web-hook")          # 0 at first; after a crash, where to go on
ingest_lines(settings, lines, channel="web-hook", offset=offset)
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from searchflow import warehouse
from searchflow.backoff import Backoff
from searchflow.errors import FencedError, SourceGapError, UsageError
from searchflow.ingestion.commit import Counts
from searchflow.ingestion.positions import position
from searchflow.ingestion.source import SourceBatch
from searchflow.ingestion.worker import Clock, Draining, IngestionResult, drain, utc_now
from searchflow.settings import Settings

CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}")
AGAIN = Backoff(attempts=5, first=0.0)
"""Attempts of a call when another has the same lines at the same moment: it looks again after each commit of the other.
"""


class DirectSource:
    """Lines in memory as a source. The position is the number of the channel's next line."""

    shard = "direct"
    event_type: str | None = None

    def __init__(self, channel: str, lines: Sequence[bytes], offset: int) -> None:
        self.key = self.name = key_of(channel)
        self._lines, self._offset = lines, offset

    def read(self, after: str | None, *, limit: int, wait_seconds: float = 0.0) -> SourceBatch | None:
        """Return the lines behind position `after`, as every `Source` does.

        Raises:
            SourceGapError: lines of the channel are missing before these.
        """
        expected = int(after or 0)
        if self._offset > expected:
            raise SourceGapError(
                f"Lines {expected:,} to {self._offset - 1:,} of the channel {self.name} never arrived. Send them first: "
                f"call again with offset={expected}."
            )
        first = expected - self._offset
        lines = [bytes(line) for line in self._lines[first : first + limit]]
        if not lines:
            return None
        places = [str(number) for number in range(expected, expected + len(lines))]
        return SourceBatch(lines, places, str(expected + len(lines)))

    def committed(self, position: str) -> None:
        """Do nothing: the caller learns of the commit when the call returns."""


def ingest_lines(
    settings: Settings, lines: Sequence[bytes], *, channel: str, offset: int, clock: Clock = utc_now
) -> Counts:
    """Store events (one JSON document a line; types may be mixed) and return what became of those that were new.

    `offset` is the number of the first line in the channel, from 0 on without gaps. A repeated call, also one that was
    cut off or that overlaps, stores and counts each line once. A caller that is not sure whether a call succeeded calls
    again.

    Raises:
        SourceGapError: lines before `offset` never arrived.
        UsageError: the channel's name or the offset cannot be used.
    """
    if offset < 0:
        raise UsageError(f"offset is {offset}: it is the number of the first line in the channel, 0 or more.")
    source, result = DirectSource(channel, lines, offset), IngestionResult()
    with warehouse.connect(settings) as connection:
        for attempt in AGAIN.tries():
            try:
                drain(settings, connection, source, Draining(clock, result))
                break
            except FencedError:  # another process makes the same call: the next attempt skips what that one stored
                if attempt == AGAIN.attempts:
                    raise
    return result.counts


def next_offset(settings: Settings, channel: str) -> int:
    """Return the number of a channel's next line: how many lines were committed so far."""
    with warehouse.connect(settings, read_only=True) as connection:
        return int(position(connection, DirectSource.shard, key_of(channel)) or 0)


def key_of(channel: str) -> str:
    """Return the key under which the channel's position is stored.

    Raises:
        UsageError: this is no name of a channel.
    """
    if not CHANNEL.fullmatch(channel):
        raise UsageError(
            f"{channel!r} is not a channel name. Use up to 100 letters, digits and . _ : / -, and begin with a letter or digit."
        )
    return f"direct:{channel}"
