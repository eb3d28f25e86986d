"""What the soak sends is in its books, line by line, also when the stream server is killed in between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from generators.settings import SimulationSettings
from searchflow import streams
from searchflow.services import process, valkey
from searchflow.settings import Settings, load_settings
from tests.chaos.soak.books import LETTER, Books, digest
from tests.chaos.soak.traffic import Producer, Travellers

pytestmark = pytest.mark.integration


@pytest.fixture
def bus(home: Path) -> Iterator[Settings]:
    settings = load_settings(home=home)
    process.prepare_home(settings)
    valkey.start(settings)
    yield settings
    valkey.stop(settings)


def now() -> datetime:
    return datetime.now(UTC)


def waiting(settings: Settings) -> list[bytes]:
    """Every line in the streams."""
    found: list[bytes] = []
    with streams.connect(settings) as client:
        for name in streams.EVENT_STREAMS.values():
            entries: Any = client.xrange(name)
            found += [line for _, fields in entries for line in streams.decode(fields)]
    return found


def test_travellers_go_on_at_another_rate_and_after_a_kill(bus: Settings) -> None:
    books = Books()
    travellers = Travellers(
        Producer(bus, books, now, seed=1), SimulationSettings.for_history(until=now(), seed=2, days=2, events=200), 20
    )
    travellers.start()
    until(lambda: books.lines > 20)
    travellers.change(300)
    until(lambda: books.lines > 400)
    record = process.running(bus, valkey.NAME)
    assert record is not None
    psutil.Process(record.pid).kill()
    time.sleep(1)
    valkey.start(bus)
    before = books.lines
    until(lambda: books.lines > before + 100)
    travellers.stop()
    assert travellers.problem is None
    assert books.lines <= len(waiting(bus)) <= books.lines + books.lines_in_doubt


def until(ready: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.1)


def test_lines_of_its_own_are_in_the_books_with_what_becomes_of_them(bus: Settings) -> None:
    books = Books()
    producer = Producer(bus, books, now, seed=3)
    valid = producer.searches(5, timedelta(hours=3), user_id="someone")
    broken = producer.broken(3)
    producer.repeated(2)
    lines = waiting(bus)
    assert len(lines) == books.lines == 5 + 3 + 2 * 2
    sent = {row["event_id"] for row in books.table().to_pylist()}
    assert set(valid) <= sent
    assert not set(broken) & sent
    assert len(sent) == 5 + 2
    assert set(books.letter_lines) <= {digest(line) for line in lines}
    assert len(books.letter_lines) == 3
    books.note("search", None, LETTER, b"x" * 100_000)
    assert books.letter_lines[-1] == digest(b"x" * 65_536)
