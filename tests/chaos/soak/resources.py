"""Memory, file descriptors, connections, catalog rows and files a table: sampled, and compared between quarters."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil
import psycopg

from searchflow import warehouse
from searchflow.errors import SearchFlowError
from searchflow.services import postgres, process
from searchflow.settings import Settings
from tests.chaos.soak.verdict import Finding

MOST = 1.1
"""Last quarter against second quarter: the first is the start, with caches that fill."""
FLOORS: Mapping[str, float] = {
    "memory_mb": 16.0,
    "descriptors": 8.0,
    "connections": 6.0,
    "catalog_rows_a_snapshot": 2.0,
    "files_a_table": 8.0,
}
"""What a figure may grow besides the tenth: a process with 40 descriptors has five more for a moment."""
LEAK_MB_A_MINUTE, LEAST_MINUTES = 0.7, 15.0
"""Of a long-lived process: the slope of its memory behind the first quarter, in soaks that last long enough to tell."""
LONGEST_IDLE_S = 60.0
"""A process that does nothing inside a transaction holds its locks: `forget` and maintenance wait for it."""
LONG_LIVED = ("flows", "dashboards", "prefect-server", "valkey", "postgres")
LOWEST = ("catalog_rows_a_snapshot", "files_a_table")
"""Measured by what is left after maintenance: between two runs these grow by design."""


@dataclass(frozen=True)
class Sample:
    """Figures of one moment (seconds since the beginning), by name: `memory_mb flows`, `connections` ..."""

    at: float
    figures: Mapping[str, float] = field(default_factory=dict)


def sample(settings: Settings, at: float) -> Sample:
    """Measure; what does not answer is left out."""
    figures: dict[str, float] = {}
    for name in LONG_LIVED:
        figures |= of_process(settings, name)
    with contextlib.suppress(psycopg.Error, SearchFlowError):
        figures |= _of_servers(settings)
    return Sample(at, figures)


def of_process(settings: Settings, name: str) -> dict[str, float]:
    """Memory that no other process shares, and descriptors. Of servers all their processes together; of `flows` the
    runner alone, because its runs come and go."""
    record = process.running(settings, name)
    if record is None:
        return {}
    memory = descriptors = 0.0
    with contextlib.suppress(psutil.Error):
        first = psutil.Process(record.pid)
        for each in [first] if name in ("flows", "postgres") else [first, *first.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                memory += each.memory_full_info().uss
                descriptors += each.num_fds()
        return {f"memory_mb {name}": memory / 1e6, f"descriptors {name}": descriptors}
    return {}


def _of_servers(settings: Settings) -> dict[str, float]:
    with psycopg.connect(postgres.conninfo(settings, "ledger"), connect_timeout=5) as connection:
        found = connection.execute(
            "SELECT count(*), coalesce(extract(epoch FROM max(now() - state_change) FILTER "
            "(WHERE state = 'idle in transaction')), 0) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        ).fetchone()
    with warehouse.connect(settings, read_only=True) as lake:
        files = lake.execute("SELECT coalesce(max(file_count), 0) FROM ducklake_table_info('lake')").fetchone()
    assert found is not None
    assert files is not None
    figures = {"connections": float(found[0]), "idle_in_transaction_s": float(found[1])}
    return figures | {"files_a_table": float(files[0])} | _catalog(settings)


def _catalog(settings: Settings) -> dict[str, float]:
    """Count the rows of DuckLake's own tables a snapshot that was ever made: a commit costs as many at the end as at the
    beginning. An erasure expires all snapshots, so those that are kept are no measure."""
    with psycopg.connect(postgres.conninfo(settings, "catalog"), connect_timeout=5) as connection:
        tables = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_name LIKE 'ducklake_%'"
        ).fetchall()
        counts = {
            name: int((connection.execute(f'SELECT count(*) FROM "{name}"').fetchone() or (0,))[0])  # type: ignore[arg-type]
            for (name,) in tables
        }
        newest = connection.execute("SELECT max(snapshot_id) FROM ducklake_snapshot").fetchone()
    snapshots = newest[0] if newest else 0
    return {"catalog_rows_a_snapshot": sum(counts.values()) / snapshots} if snapshots else {}


def bounded(samples: Sequence[Sample], parts: Sequence[tuple[float, float]] = ()) -> Iterator[Finding]:
    """Findings about figures that grew. `parts`: seconds in which a server was away, and which count for nothing."""
    kept = [each for each in samples if not any(first <= each.at <= last for first, last in parts)]
    for name in sorted({name for each in kept for name in each.figures}):
        series = [(each.at, each.figures[name]) for each in kept if name in each.figures]
        if name == "idle_in_transaction_s":
            yield from _left_open(series)
            continue
        yield from _grew(name, series)
        if name.startswith("memory_mb"):
            yield from _leaks(name, series)


def _left_open(series: Sequence[tuple[float, float]]) -> Iterator[Finding]:
    """Judge each moment by itself: a transaction that stays open from the beginning grows nothing."""
    longest = max(idle for _, idle in series)
    if longest > LONGEST_IDLE_S:
        yield Finding("transaction left open", f"idle for {longest:.0f} s")


def quarters(samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
    """Of each figure its second and its last quarter, for the report."""
    names = sorted({name for each in samples for name in each.figures})
    found = {name: _quarters(name, [(s.at, s.figures[name]) for s in samples if name in s.figures]) for name in names}
    return {name: values for name, values in found.items() if values is not None}


def _quarters(name: str, series: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    if len(series) < 8:
        return None
    first, last = series[0][0], series[-1][0]
    part = (last - first) / 4
    second = [value for at, value in series if first + part <= at < first + 2 * part]
    fourth = [value for at, value in series if at >= first + 3 * part]
    if not second or not fourth:
        return None
    level: Callable[[Sequence[float]], Any] = min if name.split()[0] in LOWEST else statistics.median
    return float(level(second)), float(level(fourth))


def _grew(name: str, series: Sequence[tuple[float, float]]) -> Iterator[Finding]:
    found = _quarters(name, series)
    floor = FLOORS[name.split()[0]]
    if found is not None and found[1] > found[0] * MOST + floor:
        yield Finding(
            "resource grew",
            f"{name}: {found[0]:.1f} in the second quarter, {found[1]:.1f} in the last (at most {MOST} times and {floor:g})",
        )


def _leaks(name: str, series: Sequence[tuple[float, float]]) -> Iterator[Finding]:
    """The median of the slopes between samples half the time apart: one that restarts or breathes does not leak."""
    first, last = series[0][0], series[-1][0]
    calm = [each for each in series if each[0] >= first + (last - first) / 4]
    if not calm or (calm[-1][0] - calm[0][0]) / 60 < LEAST_MINUTES:
        return
    half = len(calm) // 2
    slopes = [
        (later - earlier) / (end - begin) * 60
        for (begin, earlier), (end, later) in zip(calm[:half], calm[half : 2 * half], strict=True)
    ]
    if slopes and statistics.median(slopes) > LEAK_MB_A_MINUTE:
        yield Finding("memory leak", f"{name} grows by {statistics.median(slopes):.2f} MB a minute")
