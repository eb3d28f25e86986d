"""Helpers for what every flow does alike: read the settings, note the run in `ops.stage_runs`, leave tables for
people."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import duckdb
import psycopg
import redis
from prefect import get_run_logger
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.runtime import flow_run
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from searchflow import lifecycle, markdown
from searchflow.clock import utc_now
from searchflow.errors import ServiceError
from searchflow.ops import stages
from searchflow.services import locks, process
from searchflow.settings import Settings

TAKE_OVER = 60.0
"""The seconds for which a new follower waits for the one before it to end."""
RETRYABLE = (
    ServiceError,
    redis.ConnectionError,
    redis.TimeoutError,
    psycopg.OperationalError,
    OSError,
    duckdb.IOException,  # an erasure or maintenance removed a file of an older snapshot: the next read has a newer one
)


def is_retryable(task: object, run: object, state: Any) -> bool:
    """Retry what may pass (a server that restarts), never what a person must change or what has been answered."""
    try:
        state.result()
    except RETRYABLE:
        return True
    except Exception:  # any other failure is the answer
        return False
    return False


@contextmanager
def without_heartbeat() -> Iterator[None]:
    """Let flows that run one after another in this process end at once.

    Each synchronous flow otherwise waits up to a second for its heartbeat thread; a supervised or deployed run keeps it.
    """
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@contextmanager
def stage(settings: Settings, name: str) -> Iterator[stages.Stage]:
    """Note a stage in `ops.stage_runs`, also when it fails or is killed."""
    with (
        process.ends_with(settings, lifecycle.RUNNER),
        stages.noted(settings, name, run_id(), clock=utc_now, log=get_run_logger()) as report,
    ):
        yield report


@contextmanager
def models_at_rest(settings: Settings, environment: str = "prod") -> Iterator[None]:
    """Hold the models of an environment still, on whatever machine: they are made, checked and sent one after the
    other.

    Two plans on one environment would undo each other; suites that compare tables would see one newer than another;
    what is sent would not fit together. An erasure that waits for its turn goes first.
    """
    with locks.advisory_lock(settings, locks.transformation(environment), behind=locks.ERASURE):
        yield


@contextmanager
def stopped_by_signals(patience: float | None = None) -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and Ctrl-C set, so that a run ends in order.

    Where it cannot, for example because servers have no disk left to answer with, the process ends `patience` seconds
    later all the same.
    """
    stop = threading.Event()
    before = {}

    def asked(number: int, _: FrameType | None) -> None:
        stop.set()
        if patience is not None:
            timer = threading.Timer(patience, os._exit, [128 + number])
            timer.daemon = True
            timer.start()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, asked)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_id() -> str:
    """Return the flow run's id, or a new one outside a run."""
    return str(flow_run.id or uuid.uuid4())


def table_artifact(key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """Leave a table in Prefect's UI.

    Values become text, so that dates and decimals show. The UI renders Markdown in cells, and rows that an audit found
    hold what came from outside.
    """
    shown = [{markdown.cell(name): _cell(value) for name, value in row.items()} for row in rows]
    create_table_artifact(key=key, table=shown or [{"nothing": "to show"}], description=description)


def _cell(value: Any) -> Any:
    return value if isinstance(value, int | float) else markdown.cell(str(value))


def link_artifact(key: str, link: str, text: str, description: str) -> None:
    """Leave a link in Prefect's UI."""
    create_link_artifact(key=key, link=link, link_text=text, description=description)
