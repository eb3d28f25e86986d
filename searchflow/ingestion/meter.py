"""Figures of ingestion while it runs: backlog, lag, rate and counts of each shard, sampled every few seconds.

Workers in any thread report their commits; `sample` sums what came since the last one and `keep` appends it to
`ops.ingestion_metrics`. An idle shard writes no rows, and rows older than `KEEP` are removed, so the table's size is
bounded.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from searchflow import streams, warehouse
from searchflow.fetching import first_row
from searchflow.ingestion.commit import Counts
from searchflow.ops import record
from searchflow.settings import Settings

KEEP = timedelta(days=7)
TABLE = "ops.ingestion_metrics"


@dataclass(frozen=True)
class ShardSample:
    """One shard between two moments. Counts are events. `backlog` is entries of the stream, and `lag_seconds` is how
    long the oldest of them waits.
    """

    measured_at: datetime
    source: str
    seconds: float
    received: int
    stored: int
    duplicates: int
    dead_letters: int
    late: int
    events_per_second: float
    backlog: int
    lag_seconds: float


@dataclass(frozen=True)
class Backlog:
    """What waits in a source: the number of entries, and the age of the oldest in seconds."""

    entries: int = 0
    lag_seconds: float = 0.0


class Meter:
    """Counts by source: those since the last sample, and the totals (`totals`)."""

    def __init__(self, now: datetime) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counts] = {}
        self.totals: dict[str, Counts] = {}
        self._since = now
        self._waiting: set[str] = set()

    def note(self, source: str, counts: Counts) -> None:
        """Note what one commit did."""
        with self._lock:
            self._counts.setdefault(source, Counts()).add(counts)
            self.totals.setdefault(source, Counts()).add(counts)

    def sample(self, now: datetime, backlogs: Mapping[str, Backlog]) -> list[ShardSample]:
        """Return what happened since the last sample. Sources that did nothing and hold nothing are left out."""
        with self._lock:
            counts, self._counts = self._counts, {}
        seconds = max((now - self._since).total_seconds(), 0.001)
        busy = {name for name, backlog in backlogs.items() if backlog.entries}
        samples = []
        for source in sorted(set(counts) | busy | self._waiting):
            done, waits = counts.get(source, Counts()), backlogs.get(source, Backlog())
            rate = round(done.received / seconds, 1)
            samples.append(
                ShardSample(
                    now,
                    source,
                    seconds,
                    **asdict(done),
                    events_per_second=rate,
                    backlog=waits.entries,
                    lag_seconds=waits.lag_seconds,
                )
            )
        # A backlog that is gone is noted once as zero.
        self._since, self._waiting = now, busy
        return samples


def backlogs(settings: Settings, now: datetime) -> dict[str, Backlog]:
    """Return what waits in each stream, by its name. Entries are removed when they are committed, so all that are there
    wait.
    """
    found = {}
    server = now.timestamp() - settings.clock_offset_s  # entries are stamped by the stream server's clock
    with streams.connect(settings) as client:
        for names in streams.names(settings).values():
            for name in names:
                entries = int(client.xlen(name))
                first: Any = client.xrange(name, count=1) if entries else []
                age = server - streams.as_pair(first[0][0].decode())[0] / 1000 if first else 0.0
                found[name] = Backlog(entries, round(max(0.0, age), 1))
    return found


def keep(settings: Settings, samples: list[ShardSample]) -> None:
    """Append samples to the table `ops.ingestion_metrics`."""
    if samples:
        rows = [asdict(each) | {"measured_at": each.measured_at.replace(tzinfo=None)} for each in samples]
        with warehouse.connect(settings) as connection:
            record.rows(connection, TABLE, rows)


def forget(settings: Settings, now: datetime) -> int:
    """Remove samples older than `KEEP`. Return how many were removed."""
    oldest = [(now - KEEP).replace(tzinfo=None)]
    with warehouse.connect(settings) as connection:
        row = first_row(connection.execute(f"SELECT count(*) FROM {TABLE} WHERE measured_at < ?", oldest))
        old = int(row[0]) if row else 0
        if old:
            connection.execute(f"DELETE FROM {TABLE} WHERE measured_at < ?", oldest)
    return old
