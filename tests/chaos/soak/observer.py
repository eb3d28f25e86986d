"""What the platform told: `status` and resources while it runs, notices at a receiver, and at the end what its tables say."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import httpx
import psycopg

from searchflow.errors import SearchFlowError
from searchflow.services import postgres
from tests.chaos.soak import journal, resources
from tests.chaos.soak.home import Platform
from tests.chaos.soak.journal import ALARM, CLOSED_GATE, FAILED_RUN, STATUS, Observation
from tests.chaos.soak.verdict import RECOVERED, Notices
from tests.ops.receiver import Receiver

FIRST, OTHER = "a", "b"
"""The two homes, as their folders and their addresses at the receiver are called."""
FAILED = """
    SELECT 'stage ' || stage AS what, started_at + to_milliseconds((coalesce(duration_s, 0) * 1000)::BIGINT), error
    FROM ops.stage_runs WHERE status NOT IN ('completed', 'stopped')
    UNION ALL
    SELECT 'model ' || model, started_at, error FROM ops.model_runs WHERE environment = 'prod' AND status = 'failed'
    UNION ALL
    SELECT 'sync ' || sync, coalesce(finished_at, started_at), status || ': ' || coalesce(error, '') FROM ops.sync_runs
    WHERE status NOT IN ('done', 'unchanged', 'partial', 'running')
"""
CLOSED = """
    SELECT suite, checked_at, string_agg(sentence || ' (' || coalesce(observed, '') || ')', '; ')
    FROM ops.validation_results WHERE outcome IN ('fail', 'error') GROUP BY suite, run_id, checked_at
"""

EVENTS_KEPT_SECONDS = 60.0


class Observer:
    """Looks at a platform until it is told to stop."""

    def __init__(self, platform: Platform, folder: Path, began: float) -> None:
        self._platform, self._folder, self._began = platform, folder, began
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._look, self._measure)]
        self.samples: list[resources.Sample] = []
        self.looks = 0

    def __enter__(self) -> Observer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _look(self) -> None:
        """`searchflow status`, again and again, as a person would."""
        while not self._stop.is_set():
            moved = self._platform.offset
            person = replace(self._platform, shell=None)
            with person.warm():
                while not self._stop.is_set() and self._platform.offset == moved:
                    self._look_once(person)
                    self._stop.wait(5)

    def _look_once(self, person: Platform) -> None:
        said = person.run("status", "--json")
        self.looks, at = self.looks + 1, person.now()
        for observation in of_status(said.returncode, said.stdout, said.stderr, at):
            journal.observed(self._folder, observation)

    def _measure(self) -> None:
        while not self._stop.wait(5):
            found = resources.sample(self._platform.settings, time.monotonic() - self._began)
            self.samples.append(found)
            journal.write_lines(self._folder / "resources.jsonl", [asdict(found)])


def of_status(code: int, said: str, problem: str, at: datetime) -> Iterator[Observation]:
    """What a look at `status` found unwell: a service, a level, the books, or that it did not answer."""
    try:
        state = json.loads(said)
    except ValueError:
        yield Observation(STATUS, "status itself", at, f"exit {code}: {problem.strip()[-300:]}")
        return
    unwell = [name for name, each in state["services"].items() if each != "up" and name != "live-traffic"]
    for name in unwell:
        yield Observation(STATUS, f"service {name}", at, state["services"][name])
    for level in state["levels"]:
        if level["state"] == "broken":
            yield Observation(STATUS, f"{level['level']}/{level['target']}", at, f"{level['value']} {level['unit']}")
    books = state["accounting"]
    if books is not None and not books["holds"]:
        yield Observation(STATUS, "accounting", at, json.dumps(books))
    if code not in (0, 1) or (code == 1 and not unwell and (books is None or books["holds"])):
        yield Observation(STATUS, "exit status", at, f"exit {code}: {problem.strip()[-300:]}")


def of_receiver(receiver: Receiver) -> tuple[list[Observation], tuple[str, ...]]:
    """Alarms and recoveries as the webhook brought them, and the id of each delivery for the first home."""
    payloads = [(request.path.strip("/"), json.loads(request.body)) for request in receiver.requests]
    found: dict[tuple[str, str], Observation] = {}
    for home, payload in payloads:
        kind = ALARM if payload["kind"] == "breach" else RECOVERED
        whose = "" if home == FIRST else f"{home}: "
        for target in payload["targets"]:
            at = datetime.fromisoformat(payload["at"])
            what = f"{whose}{payload['level']}/{target['target']}"
            found.setdefault((payload["id"], what), Observation(kind, what, at, target["shown"]))
    return list(found.values()), tuple(payload["id"] for home, payload in payloads if home == FIRST)


def of_tables(connection: duckdb.DuckDBPyConnection) -> Iterator[Observation]:
    """Failed runs and closed gates as our own tables have them."""
    for kind, question in ((FAILED_RUN, FAILED), (CLOSED_GATE, CLOSED)):
        for what, at, why in connection.execute(question).fetchall():
            yield Observation(kind, what, at.replace(tzinfo=UTC), str(why or "")[:400])


def of_prefect(platform: Platform, moved: Callable[[datetime], timedelta]) -> Iterator[Observation]:
    """Failed and crashed runs as Prefect has them. Its clock is the system's; `moved` says how far ours was from it."""
    for run in platform.flow_runs("FAILED", "CRASHED"):
        yield Observation(FAILED_RUN, f"flow {run['flow']}", run["at"] + moved(run["at"]), str(run["says"])[:400])


def noted(platform: Platform, received: tuple[str, ...]) -> Notices:
    """Return notices by the ways they went. Prefect's server keeps an event some seconds after it took it."""
    with psycopg.connect(postgres.conninfo(platform.settings, "ledger")) as connection:
        rows = connection.execute("SELECT notice_id::text FROM monitoring.notices").fetchall()
    events: list[dict[str, Any]] = []
    noted, deadline = tuple(row[0] for row in rows), time.monotonic() + EVENTS_KEPT_SECONDS
    with contextlib.suppress(httpx.HTTPError, SearchFlowError):
        while not {each["id"] for each in events}.issuperset(noted) and time.monotonic() < deadline:
            events = platform.events()
            time.sleep(1)
    return Notices(noted, received, tuple(each["id"] for each in events))
