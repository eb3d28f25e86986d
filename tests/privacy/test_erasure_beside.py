"""An erasure and the flows of a running platform leave room for each other."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from flows.support import models_at_rest
from searchflow import erasure, streams, warehouse
from searchflow.erasure import bus, databases
from searchflow.erasure.person import Person
from searchflow.erasure.place import Job
from searchflow.ingestion import worker
from searchflow.services import locks, postgres
from searchflow.settings import Settings
from tests.privacy.company import MAYA, OMAR, event, publish, uid

pytestmark = pytest.mark.integration


@contextmanager
def waiting(settings: Settings) -> Iterator[threading.Event]:
    """A flow in another thread wants the models until the block ends; the event says that it has them."""
    taken, done = threading.Event(), threading.Event()

    def flow() -> None:
        with models_at_rest(settings):
            taken.set()
            done.wait(60)

    thread = threading.Thread(target=flow)
    thread.start()
    try:
        yield taken
    finally:
        done.set()
        thread.join(60)


def test_tables_are_rewritten_while_a_flow_waits_for_the_models(fresh_platform: Settings) -> None:
    """One that waited inside a statement held a snapshot: what was deleted could not go, and the erasure gave up."""
    job = Job(fresh_platform, str(uuid.uuid4()), Person("nobody-0x"), worker.utc_now())
    models = ExitStack()
    models.enter_context(locks.advisory_lock(fresh_platform, "transform prod"))
    with waiting(fresh_platform) as taken:
        time.sleep(0.5)
        begun = time.monotonic()
        databases.rewrite(job, "ledger", postgres.conninfo(fresh_platform, "ledger"))
        assert time.monotonic() - begun < databases.OLDEST_READER_SECONDS
        assert not taken.is_set()
        models.close()
        assert taken.wait(30)


def test_an_erasure_that_waits_goes_before_flows_that_come_later(fresh_platform: Settings) -> None:
    asked = ExitStack()
    assert asked.enter_context(locks.try_advisory_lock(fresh_platform, locks.ERASURE))
    assert locks.is_held(fresh_platform, locks.ERASURE)
    with waiting(fresh_platform) as taken:
        assert not taken.wait(1.0)  # although no run has the models
        asked.close()
        assert taken.wait(30)
    assert not locks.is_held(fresh_platform, locks.ERASURE)


def test_a_stream_that_is_followed_is_left_to_its_follower(fresh_platform: Settings) -> None:
    publish(fresh_platform, [event("search", 1, 1, "web-1x", OMAR)])
    job = Job(fresh_platform, str(uuid.uuid4()), Person("nobody-0x"), worker.utc_now())
    draining = threading.Thread(target=bus.drain, args=(job, worker.utc_now))
    with locks.try_advisory_lock(fresh_platform, f"follow {streams.names(fresh_platform)['search'][0]}"):
        draining.start()
        draining.join(1.5)
        assert draining.is_alive()
        assert worker.waiting(fresh_platform)["search"] == 1  # no other worker has read it
        worker.ingest_stream(fresh_platform, "search")  # as the follower does
        draining.join(10)
        assert not draining.is_alive()


def test_without_a_follower_the_erasure_drains_by_itself(fresh_platform: Settings) -> None:
    publish(fresh_platform, [event("search", 1, 1, "web-1x", OMAR)])
    bus.drain(Job(fresh_platform, str(uuid.uuid4()), Person("nobody-0x"), worker.utc_now()), worker.utc_now)
    assert worker.waiting(fresh_platform)["search"] == 0


def test_a_document_that_names_an_erased_person_twice_keeps_none(fresh_platform: Settings) -> None:
    """Of two equal keys the contract reads the last: the first kept the id of the person in another person's event."""
    publish(fresh_platform, [event("search", 1, 2, "web-1x", MAYA), event("search", 2, 1, "web-2x", OMAR)])
    worker.ingest_stream(fresh_platform, "search")
    with warehouse.connect(fresh_platform) as lake:
        lake.execute(
            "UPDATE raw.search_events SET payload = '{\"user_id\": \"' || ? || '\", ' || substr(payload, 2) WHERE event_id = ?",
            [MAYA, uid(2)],
        )
    erasure.forget(fresh_platform, MAYA, clock=worker.utc_now)
    with warehouse.connect(fresh_platform, read_only=True) as lake:
        [(left, payload)] = lake.execute("SELECT event_id, payload FROM raw.search_events").fetchall()
    assert left == uid(2)
    assert payload.startswith('{"user_id": "erased", ')
