"""Ingestion: a million events from the streams into raw, with all checks, beside a loader that checks nothing.

Events have 500 bytes and come in compressed entries of 500, with exact duplicates and dead letters among them. The limit
reads the same entries with redis-py and appends the same bytes to tables like the raw ones (partitions, columns,
commits of the same size), and cuts id and time out of fixed places in the line. Another million goes into a day that
holds ten million events already. The three take turns, a few times over, so that a busy moment of the machine meets all of
them; medians count. With --peer, or where dlt can be imported, dlt loads a part of them as well.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from benchmarks.ingestion import peer, work
from benchmarks.ingestion.traffic import SHARES, Published, Traffic, publish
from benchmarks.report import Figure, Options, Report
from benchmarks.support import Measured, in_child, machine, platform
from searchflow.errors import SearchFlowError
from searchflow.settings import Settings

EVENTS, STORED = 1_000_000, 10_000_000
PEER_EVENTS = 100_000
"""The events that the peer loads: it would need minutes for all."""
RATE, RATIO, KEPT = 100_000, 0.5, 0.8
TURNS = 3
FULL_DAY = date(2026, 3, 2)
EMPTY_DAYS = [FULL_DAY + timedelta(days=2 * turn) for turn in range(1, TURNS + 1)]
"""The empty days, one for each turn with a day between: stored events are looked for a day around a batch's."""
NOW = datetime(2026, 3, 9, 1, tzinfo=UTC)


def run(options: Options) -> Report:
    """Drain into an empty day and into a full one, in turns."""
    events, stored = options.scaled(EVENTS, least=2_000), options.scaled(STORED, least=20_000)
    bare, empty, full = list[Measured](), list[Measured](), list[Measured]()
    with platform(options) as settings:
        work.make_bare_tables(settings)
        options.progress(f"storing {stored:,} events in one day")
        in_child(work.fill, settings, _traffic(stored, FULL_DAY, "old"), NOW)
        for turn, day in enumerate(EMPTY_DAYS, start=1):
            options.progress(f"turn {turn} of {TURNS}")
            published = _publish(settings, options, _traffic(events, day, "new"))
            bare.append(in_child(work.load_bare, settings, NOW))
            empty.append(_drain(settings, published))
            full.append(_drain(settings, _publish(settings, options, _traffic(events, FULL_DAY, f"more {turn}"))))
    by_dlt = _by_dlt(options)
    figures = [*_figures(options, bare, empty, full), *by_dlt[0]]
    return Report("ingest", (__doc__ or "").partition("\n")[0], figures, _facts(empty, full, stored) | by_dlt[1])


def _by_dlt(options: Options) -> tuple[list[Figure], dict[str, Any]]:
    """Return dlt's figure, or the fact that there is none and how to get it."""
    python = peer.python_with_dlt(options.workspace, install=options.peer)
    if python is None:
        return [], {"dlt": peer.HOW_TO_GET_IT}
    options.progress("loading with dlt")
    events = options.scaled(PEER_EVENTS, least=1_000)
    rate = peer.events_per_second(python, options.workspace, _traffic(events, EMPTY_DAYS[0], "new"))
    return [Figure(f"dlt, {events:,} events from files", rate, "events/s")], {"dlt": peer.REQUIREMENT}


def _traffic(events: int, day: date, seed: str) -> list[Traffic]:
    return [Traffic(event_type, round(events * share), day, seed) for event_type, share in SHARES.items()]


def _publish(settings: Settings, options: Options, traffic: list[Traffic]) -> Published:
    options.progress(f"publishing {sum(part.events for part in traffic):,} events")
    published: Published = in_child(publish, settings, traffic).result
    return published


def _drain(settings: Settings, published: Published) -> Measured:
    """Drain the streams; a wrong count is no measurement.

    Raises:
        SearchFlowError: ingestion found other counts than were published.
    """
    measured = in_child(work.drain, settings, NOW)
    expected = {name: getattr(published, name) for name in ("received", "duplicates", "dead_letters")}
    found = {name: measured.result[name] for name in expected}
    if found != expected:
        raise SearchFlowError(f"Ingestion counted {found}, but {expected} were published. Please report this.")
    return measured


def _figures(
    options: Options, bare: Sequence[Measured], empty: Sequence[Measured], full: Sequence[Measured]
) -> list[Figure]:
    rate, again = _rate(empty), _rate(full)
    limit = statistics.median(each.result / each.seconds for each in bare)

    def judged(holds: bool) -> bool | None:
        return holds if options.judges else None

    return [
        Figure("into an empty day", rate, "events/s", limit, "no checks", f"{RATE:,} or more", judged(rate >= RATE)),
        Figure("share of the limit", rate / limit, "", target=f"{RATIO} or more", met=judged(rate / limit >= RATIO)),
        Figure("into a day that holds 10 times as many", again, "events/s", rate, "an empty day",
               f"ratio {KEPT} or more", judged(again / rate >= KEPT)),
        Figure("peak memory", _peak(empty), "MiB"),
        Figure("peak memory, full day", _peak(full), "MiB"),
        Figure("peak memory, no checks", _peak(bare), "MiB"),
        Figure("CPU", statistics.median(each.cpu_seconds / each.result["received"] for each in empty) * 1e6, "µs/event",
               statistics.median(each.cpu_seconds / each.result for each in bare) * 1e6, "no checks"),
    ]  # fmt: skip


def _rate(drains: Sequence[Measured]) -> float:
    return statistics.median(_rates(drains))


def _rates(drains: Sequence[Measured]) -> list[float]:
    return [float(each.result["received"] / each.seconds) for each in drains]


def _peak(runs: Sequence[Measured]) -> float:
    """Return the peak memory of some runs, in MiB."""
    return max(each.peak_bytes for each in runs) / 2**20


def _facts(empty: Sequence[Measured], full: Sequence[Measured], stored: int) -> dict[str, Any]:
    rates = {
        "rates_empty": [round(each) for each in _rates(empty)],
        "rates_full": [round(each) for each in _rates(full)],
    }
    return machine() | empty[0].result | {"stored_before_in_the_full_day": stored} | rates
