"""Simulated traffic as JSON lines files: events a second on all cores, and the memory it takes.

The limit is Polars alone, writing search events that are ready in memory, with all its threads. Feeds and the answer key
are left out: they are not part of `--to files`. The busiest day that settings allow is made in one process.
"""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.report import Figure, Options, Report
from benchmarks.support import Measured, TreeMemory, in_child, machine

EVENTS, DAYS = 4_000_000, 400
READY = 1_000_000
RATE, BYTES = 300_000, 2**30
NOW = datetime(2026, 3, 2, tzinfo=UTC)  # midnight: the one day is exactly one
SEED = 42


def run(options: Options) -> Report:
    """Write a history with all cores and with one process, the busiest day, and ready rows."""
    from generators.settings import MAX_EVENTS_PER_DAY

    events, busiest = options.scaled(EVENTS, least=4_000), options.scaled(MAX_EVENTS_PER_DAY, least=4_000)
    cores = machine()["cores"]
    all_cores = _history(options, events, cores)
    alone = _history(options, max(2_000, events // 2), 1)
    options.progress(f"one day of {busiest:,} events")
    day = in_child(_day, busiest)
    options.progress("writing ready rows with Polars alone")
    bare = in_child(_ready_rows, options.workspace, options.scaled(READY, least=2_000))
    figures = _figures(options, all_cores, alone, day, bare)
    facts = machine() | {"events": all_cores.result["lines"], "days": DAYS, "one_day_of": day.result["lines"]}
    return Report("generate", (__doc__ or "").partition("\n")[0], figures, facts)


def _history(options: Options, events: int, processes: int) -> Measured:
    options.progress(f"{events:,} events with {processes} process(es)")
    folder = options.workspace / f"events_{processes}"
    measured = in_child(_write, folder, events, processes)
    shutil.rmtree(folder)
    return measured


def _figures(options: Options, all_cores: Measured, alone: Measured, day: Measured, bare: Measured) -> list[Figure]:
    limit, name = bare.result, "Polars alone, ready search events"
    fast = _rate(all_cores)
    memory = all_cores.result["peak_bytes"]
    under = f"under {BYTES // 2**20} MiB"
    return [
        Figure("all cores", fast, "events/s", limit, name, f"at least {RATE:,}", _judged(options, fast >= RATE)),
        Figure("one process", _rate(alone), "events/s", limit, name),
        Figure("one process, one busy day, not written", _rate(day), "events/s", limit, name),
        Figure("memory, all cores", _mebibytes(memory), "MiB", target=under, met=_judged(options, memory < BYTES)),
        Figure("memory, one process", _mebibytes(alone.result["peak_bytes"]), "MiB"),
        Figure(
            "memory, one busy day",
            _mebibytes(day.result["peak_bytes"]),
            "MiB",
            target=under,
            met=_judged(options, day.result["peak_bytes"] < BYTES),
        ),
    ]


def _rate(measured: Measured) -> float:
    return round(measured.result["lines"] / measured.result["seconds"])


def _judged(options: Options, met: bool) -> bool | None:
    return met if options.judges else None


def _mebibytes(size: int) -> int:
    return round(size / 2**20)


def _write(folder: Path, events: int, processes: int) -> dict[str, Any]:
    """Do what `searchflow generate --to files --processes N` does; seconds include the start of the workers."""
    from generators import publish_range
    from generators.publishers import jsonl_part
    from generators.simulation import WHOLE
    from searchflow.settings import load_settings

    with TreeMemory() as memory:
        report = publish_range(
            load_settings(home=folder / "home"),
            _range(events, DAYS),
            partial(jsonl_part, folder, "events") if processes > 1 else jsonl_part(folder, "events", WHOLE),
            processes=processes,
            write_feeds=False,
            answer_key=False,
            remember=False,
            quiet=True,
        )
    return {"lines": report.lines, "seconds": report.seconds, "peak_bytes": memory.peak_bytes}


def _range(events: int, days: int) -> Any:
    from generators import next_range

    return next_range(None, NOW, days=days, events=events, seed=SEED)


def _day(events: int) -> dict[str, Any]:
    """Make one busy day in this process; its lines are made and go nowhere."""
    from generators import Simulation

    began, lines = time.perf_counter(), 0
    with TreeMemory() as memory:
        for batch in Simulation(_range(events, 1).simulation).batches(until=NOW):
            lines += len(batch.text())
    return {"lines": lines, "seconds": time.perf_counter() - began, "peak_bytes": memory.peak_bytes}


def _ready_rows(folder: Path, rows: int) -> float:
    """Return how many ready rows a second Polars writes as JSON lines."""
    import polars as pl

    from generators import Simulation

    source, target = folder / "ready.jsonl", folder / "written.jsonl"
    with source.open("wb") as out:
        for batch in Simulation(_range(rows // 2, 30).simulation).batches(until=NOW):
            searches = batch.frames["search"].filter(pl.col("fate") == 0)
            out.write(b"\n".join(searches["line"].to_list()) + b"\n")
    ready = pl.read_ndjson(source, infer_schema_length=10_000)
    ready = pl.concat([ready] * -(-rows // len(ready)))[:rows].rechunk()
    began = time.perf_counter()
    ready.write_ndjson(target)
    return round(rows / (time.perf_counter() - began))
