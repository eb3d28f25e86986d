"""Ingestion: a million events from the streams into raw, with all checks, beside a loader that checks nothing.

Events have 500 bytes and come in compressed entries of 500, with exact duplicates and dead letters among them. The limit
reads the same entries with redis-py and appends the same bytes to tables like the raw ones (partitions, columns,
commits of the same size), and cuts id and time out of fixed places in the line. Then the same again into a day that
holds ten million events already. With --peer, or where dlt can be imported, dlt loads a part of them as well.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from benchmarks.ingestion import peer, work
from benchmarks.ingestion.traffic import SHARES, Published, Traffic, publish
from benchmarks.report import Figure, Options, Report
from benchmarks.support import Measured, in_child, machine, platform
from searchflow.errors import SearchFlowError
from searchflow.settings import Settings

EVENTS, STORED = 1_000_000, 10_000_000
PEER_EVENTS = 100_000
"""It would need minutes for all."""
RATE, RATIO, KEPT = 100_000, 0.5, 0.8
EMPTY_DAY, FULL_DAY = date(2026, 3, 1), date(2026, 3, 2)
NOW = datetime(2026, 3, 3, 1, tzinfo=UTC)


def run(options: Options) -> Report:
    """Drain into an empty day, then into a full one."""
    events, stored = options.scaled(EVENTS, least=2_000), options.scaled(STORED, least=20_000)
    with platform(options) as settings:
        published = _publish(settings, options, _traffic(events, EMPTY_DAY, "new"))
        options.progress("loading without checks")
        work.make_bare_tables(settings)
        bare = in_child(work.load_bare, settings, NOW)
        empty = _drain(settings, options, published)
        options.progress(f"storing {stored:,} events in one day")
        in_child(work.fill, settings, _traffic(stored, FULL_DAY, "old"), NOW)
        again = _publish(settings, options, _traffic(events, FULL_DAY, "more"))
        full = _drain(settings, options, again)
    by_dlt = _by_dlt(options)
    figures = [*_figures(options, bare, empty, full), *by_dlt[0]]
    return Report("ingest", (__doc__ or "").partition("\n")[0], figures, _facts(empty, stored) | by_dlt[1])


def _by_dlt(options: Options) -> tuple[list[Figure], dict[str, Any]]:
    """Its figure, or the fact that there is none and how to get it."""
    python = peer.python_with_dlt(options.workspace, install=options.peer)
    if python is None:
        return [], {"dlt": peer.HOW_TO_GET_IT}
    options.progress("loading with dlt")
    events = options.scaled(PEER_EVENTS, least=1_000)
    rate = peer.events_per_second(python, options.workspace, _traffic(events, EMPTY_DAY, "new"))
    return [Figure(f"dlt, {events:,} events from files", rate, "events/s")], {"dlt": peer.REQUIREMENT}


def _traffic(events: int, day: date, seed: str) -> list[Traffic]:
    return [Traffic(event_type, round(events * share), day, seed) for event_type, share in SHARES.items()]


def _publish(settings: Settings, options: Options, traffic: list[Traffic]) -> Published:
    options.progress(f"publishing {sum(part.events for part in traffic):,} events")
    published: Published = in_child(publish, settings, traffic).result
    return published


def _drain(settings: Settings, options: Options, published: Published) -> Measured:
    """Drain the streams; a wrong count is no measurement.

    Raises:
        SearchFlowError: ingestion found other counts than were published.
    """
    options.progress("ingesting")
    measured = in_child(work.drain, settings, NOW)
    expected = {name: getattr(published, name) for name in ("received", "duplicates", "dead_letters")}
    found = {name: measured.result[name] for name in expected}
    if found != expected:
        raise SearchFlowError(f"Ingestion counted {found}, but {expected} were published. Please report this.")
    return measured


def _figures(options: Options, bare: Measured, empty: Measured, full: Measured) -> list[Figure]:
    rate, again, limit = _rate(empty), _rate(full), bare.result / bare.seconds

    def judged(holds: bool) -> bool | None:
        return holds if options.judges else None

    return [
        Figure("into an empty day", rate, "events/s", limit, "no checks", f"{RATE:,} or more", judged(rate >= RATE)),
        Figure("share of the limit", rate / limit, "", target=f"{RATIO} or more", met=judged(rate / limit >= RATIO)),
        Figure("into a day that holds 10 times as many", again, "events/s", rate, "an empty day",
               f"ratio {KEPT} or more", judged(again / rate >= KEPT)),
        Figure("peak memory", empty.peak_bytes / 2**20, "MiB"),
        Figure("peak memory, full day", full.peak_bytes / 2**20, "MiB"),
        Figure("peak memory, no checks", bare.peak_bytes / 2**20, "MiB"),
        Figure("CPU", empty.cpu_seconds / empty.result["received"] * 1e6, "µs/event",
               bare.cpu_seconds / bare.result * 1e6, "no checks"),
    ]  # fmt: skip


def _rate(measured: Measured) -> float:
    return float(measured.result["received"] / measured.seconds)


def _facts(empty: Measured, stored: int) -> dict[str, Any]:
    return machine() | empty.result | {"stored_before_in_the_full_day": stored}
