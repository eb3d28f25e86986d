"""From a search to its row in the funnel: 1,000 events a second live, ingestion following, transformation following.

All three are the ordinary commands on servers of their own. The moment counts at which a reader finds the row in
`marts.fct_search_funnel`; what was there before the followers were warm is not counted.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import duckdb

from benchmarks.report import Figure, Options, Report
from benchmarks.support import machine, platform
from searchflow import streams, warehouse
from searchflow.settings import Settings

RATE = 1_000
SECONDS = 150.0
SLICE = 0.1
MEDIAN, P95 = 10.0, 30.0
WARM_UP = 420.0
"""The most seconds that the first pass may take."""
NEWEST = "SELECT max(searched_at) FROM marts.fct_search_funnel"


def run(options: Options) -> Report:
    """Publish, follow, and look every half second how far the funnel is."""
    rate, seconds = options.scaled(RATE, least=20), max(20.0, SECONDS * min(options.size, 4))
    with (
        platform(options, prefect_port=_free_port()) as settings,
        _publishing(settings, rate) as published,
        _following(settings, "ingest"),
        _following(settings, "transform"),
    ):
        options.progress("the first pass over all models")
        waits = sorted(_watch(settings, seconds, options))
    events = sum(published)
    median, p95 = statistics.median(waits), waits[int(len(waits) * 0.95)]
    figures = [
        _judged(options, "search to funnel, median", median, MEDIAN),
        _judged(options, "search to funnel, 95th percentile", p95, P95),
        Figure("... longest", round(waits[-1], 2), "s"),
    ]
    facts = {"events_published": events, "events_a_second": rate, "seconds_watched": round(seconds)}
    return Report("freshness", (__doc__ or "").partition("\n")[0], figures, machine() | facts)


def _judged(options: Options, name: str, seconds: float, most: float) -> Figure:
    met = seconds <= most if options.judges else None
    return Figure(name, round(seconds, 2), "s", target=f"at most {most:.0f} s", met=met)


def _watch(settings: Settings, seconds: float, options: Options) -> list[float]:
    """Return the seconds that each second's searches took, from the newest search that a reader finds at each look."""
    waits: list[float] = []
    with warehouse.connect(settings, read_only=True) as connection:
        seen = _first(connection)
        options.progress("watching")
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            newest, now = _newest(connection), datetime.now(UTC).replace(tzinfo=None)
            if newest is not None and newest > seen:
                waits += _waited(seen, newest, now)
                seen = newest
            time.sleep(0.5)
    now = datetime.now(UTC).replace(tzinfo=None)
    if not waits:
        raise RuntimeError(f"No new search came into the funnel within {seconds:.0f} s. See {settings.logs_dir}.")
    return waits + _waited(seen, now, now)  # what has not come yet counts with its age


def _waited(after: datetime, until: datetime, now: datetime) -> list[float]:
    """Return how long searches waited. They come evenly: ten of every second stand for all of them."""
    count = max(1, round((until - after).total_seconds() * 10))
    return [(now - (after + (until - after) * each / count)).total_seconds() for each in range(1, count + 1)]


def _first(connection: duckdb.DuckDBPyConnection) -> datetime:
    """Return the newest search once the followers are warm: after the second change of the funnel."""
    ends, changes = time.monotonic() + WARM_UP, 0
    seen: datetime | None = None
    while time.monotonic() < ends:
        newest = _newest(connection)
        if newest is not None and newest != seen:
            changes, seen = changes + 1, newest
            if changes >= 3:
                return newest
        time.sleep(0.5)
    raise RuntimeError(f"The funnel did not come within {WARM_UP:.0f} s: the followers' output is above.")


def _newest(connection: duckdb.DuckDBPyConnection) -> datetime | None:
    """Return the newest search in the funnel; None before the first pass has made it."""
    try:
        found = connection.execute(NEWEST).fetchone()
    except duckdb.CatalogException:
        return None
    return found[0] if found else None


@contextmanager
def _publishing(settings: Settings, rate: int) -> Iterator[list[int]]:
    """Run a producer that keeps the pace from a thread; the list holds how many events it sent at a time."""
    sent: list[int] = []
    stop = threading.Event()

    def produce() -> None:
        with streams.connect(settings) as client:
            due, number = time.monotonic(), 0
            while not stop.is_set():
                count = max(1, round(rate * SLICE))
                for kind, lines in _events(number, count).items():
                    streams.publish(client, kind, lines)
                number += count
                sent.append(count)
                due += count / rate
                stop.wait(max(0.0, due - time.monotonic()))

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join()


def _events(first: int, count: int) -> dict[str, list[bytes]]:
    """Return events: of twenty, fourteen are searches, five clicks on them, and one a booking; a session has twenty."""
    now = datetime.now(UTC).isoformat()
    made: dict[str, list[bytes]] = {"search": [], "click": [], "conversion": []}
    for number in range(first, first + count):
        session, place = divmod(number, 20)
        kind = "search" if place < 14 else "click" if place < 19 else "conversion"
        event: dict[str, Any] = {
            "event_id": _id(number),
            "event_type": kind,
            "timestamp": now,
            "session_id": f"s-{session}",
            "user_id": f"u-{session % 5000}" if session % 2 else None,
        }
        if kind == "search":
            event |= {
                "query": "hotels in Lisbon",
                "results_count": number % 30,
                "platform": "web",
                "utm_source": "google",
            }
        elif kind == "click":
            event |= {
                "search_event_id": _id(session * 20),
                "result_id": "r",
                "result_destination": f"place {session % 90}",
            }
        else:
            event |= {"click_event_id": _id(session * 20 + 14), "booking_value": 120.5}
        made[kind].append(json.dumps(event).encode())
    return made


def _id(number: int) -> str:
    return str(uuid.UUID(int=number))


@contextmanager
def _following(settings: Settings, command: str) -> Iterator[None]:
    """Run `searchflow <command> --follow` on this platform, and tell it to stop at the end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SEARCHFLOW_", "PREFECT_"))}
    environment = kept | {
        "SEARCHFLOW_HOME": str(settings.home),
        "SEARCHFLOW_ENV_FILE": "",
        "SEARCHFLOW_PREFECT_PORT": str(settings.prefect_port),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "searchflow.cli", command, "--follow", "--json"],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
        if process.poll() is not None:
            raise RuntimeError(f"`searchflow {command} --follow` ended with status {process.returncode}.")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
