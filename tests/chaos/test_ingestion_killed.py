"""Ingestion is killed with SIGKILL at ten different points of a commit; every event ends up stored once all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid

import pytest

from searchflow import streams, warehouse
from searchflow.ingestion.accounting import accounting
from searchflow.ingestion.worker import utc_now
from searchflow.settings import ROOT, Settings
from tests import foreign
from tests.chaos.ingest_and_die import STEPS

pytestmark = pytest.mark.integration


def run_worker(settings: Settings, step: str, nth: int) -> int:
    command = [sys.executable, "-m", "tests.chaos.ingest_and_die", str(settings.home), "search", step, str(nth)]
    environment = dict(os.environ) | {
        "SEARCHFLOW_REDIS_URL": settings.redis_url.get_secret_value() if settings.redis_url else "",
        "SEARCHFLOW_POSTGRES_URL": settings.postgres_url.get_secret_value() if settings.postgres_url else "",
        "SEARCHFLOW_POSTGRES_PREFIX": settings.postgres_prefix,
    }
    return subprocess.run(command, cwd=ROOT, env=environment, timeout=120, check=False).returncode


def test_ten_kills_lose_nothing_and_count_nothing_twice(fresh_platform: Settings) -> None:
    assert len(STEPS) >= 10
    moment = utc_now().isoformat()
    documents = [foreign.search(number, event_id=str(uuid.uuid4()), timestamp=moment) for number in range(6_000)]
    lines = [foreign.line(**document) for document in documents]
    sent = [*lines, *lines[:50], *([b"broken"] * 25), foreign.line(**{**documents[0], "query": "another"})]
    with streams.connect(fresh_platform) as client:
        streams.publish(client, "search", sent, batch=40)
    for number, step in enumerate(STEPS):
        # first, second or third time the step is reached: at the start of the work, and in the middle
        assert run_worker(fresh_platform, step, 1 + number % 3) == -signal.SIGKILL, step
        with warehouse.connect(fresh_platform, read_only=True) as connection:
            assert accounting(connection).holds, step  # after each kill, not only at the end
    assert run_worker(fresh_platform, "none", 0) == 0
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        totals = accounting(connection)
        stored = {row[0] for row in connection.execute("SELECT event_id FROM raw.search_events").fetchall()}
        rows = connection.execute("SELECT count(*) FROM raw.search_events").fetchone()
    assert totals.holds
    assert (totals.received, totals.stored, totals.duplicates, totals.dead_letters) == (6_076, 6_000, 50, 26)
    assert rows == (6_000,)
    assert stored == {document["event_id"] for document in documents}
