"""A platform with a small history that went the whole way; made once, and put back after each test that spoils it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import activations
from activations.gate import GateVerdict
from generators import FaultSettings, Range, RedisPublisher, SimulationSettings, publish_range
from searchflow import streams
from searchflow.ingestion import feeds, worker
from searchflow.settings import Settings
from searchflow.transformation import transform
from tests.conftest import running_platform

SENT = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=12)
"""The history ends half a day ago, so that a later run has something to add: at a hundred events a day, six hours of the
night may have none."""
FAULTS = FaultSettings(
    duplicates=0.02, invalid_json=0.006, missing_field=0.008, wrong_type=0.006, late=0.05, out_of_order=0.05
)


def ingest(settings: Settings) -> None:
    for event_type in streams.EVENT_TYPES:
        worker.ingest_stream(settings, event_type)
    feeds.ingest_feeds(settings, settings.feeds_dir, now=datetime.now(UTC))


def activate(settings: Settings) -> None:
    def passes(suite: str) -> GateVerdict:
        return GateVerdict(suite, "pass")

    for name in activations.load_syncs():
        activations.run_sync(settings, name, now=datetime.now(UTC), gate=passes, approve=True)


@pytest.fixture(scope="session")
def history() -> Iterator[Settings]:
    """35 days with about 3,000 events, ingested, modelled and sent."""
    with running_platform() as settings:
        world = SimulationSettings.for_history(until=SENT, days=35, events=3_000, seed=21, faults=FAULTS)
        publisher = RedisPublisher(streams.connect(settings))
        publish_range(settings, Range(world, None, SENT), publisher, quiet=True)
        ingest(settings)
        transform(settings, now=datetime.now(UTC))
        activate(settings)
        yield settings


@pytest.fixture
def undo() -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Things to do when the test is over, the last first."""
    steps: list[Callable[[], Any]] = []
    yield steps.append
    for step in reversed(steps):
        step()
