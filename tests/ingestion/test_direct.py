"""A direct call stores each line of a channel once, however often and from however many places it is repeated."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from searchflow import warehouse
from searchflow.errors import SourceGapError, UsageError
from searchflow.ingestion import ingest_lines, next_offset
from searchflow.ingestion.accounting import accounting
from searchflow.ingestion.commit import Counts
from searchflow.settings import Settings
from tests import foreign

pytestmark = pytest.mark.integration


def send(settings: Settings, lines: list[bytes], offset: int, channel: str = "hook") -> Counts:
    return ingest_lines(settings, lines, channel=channel, offset=offset, clock=lambda: foreign.NOW)


def fetch(settings: Settings, sql: str) -> list[Any]:
    with warehouse.connect(settings, read_only=True) as connection:
        assert accounting(connection).holds
        return connection.execute(sql).fetchall()


def test_a_repeated_an_overlapping_and_a_gapped_call(fresh_platform: Settings) -> None:
    lines = [foreign.line(**foreign.search(number)) for number in range(1, 5)]
    lines[1] = b"rubbish"
    first = Counts(received=2, stored=1, dead_letters=1)
    assert send(fresh_platform, lines[:2], 0) == first
    assert send(fresh_platform, lines[:2], 0) == Counts()  # nothing is received again, the letter neither
    assert send(fresh_platform, lines, 0) == Counts(received=2, stored=2)  # the part that is new
    assert next_offset(fresh_platform, "hook") == 4
    with pytest.raises(SourceGapError, match="Lines 4 to 8 of the channel direct:hook never arrived"):
        send(fresh_platform, lines, 9)
    assert send(fresh_platform, lines[:1], 0, channel="another") == Counts(received=1, duplicates=1)
    assert fetch(fresh_platform, "SELECT source, source_position FROM raw.search_events ORDER BY event_id") == [
        ("direct:hook", "0"),
        ("direct:hook", "2"),
        ("direct:hook", "3"),
    ]


def test_the_same_call_from_several_threads_stores_once(fresh_platform: Settings) -> None:
    lines = [foreign.line(**foreign.search(number)) for number in range(500)]
    totals: list[Counts] = []
    threads = [threading.Thread(target=lambda: totals.append(send(fresh_platform, lines, 0))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(total.stored for total in totals) == [0, 0, 500]
    assert fetch(fresh_platform, "SELECT count(*) FROM raw.search_events") == [(500,)]


def test_names_and_offsets_that_cannot_be(fresh_platform: Settings) -> None:
    with pytest.raises(UsageError, match="not a channel name"):
        send(fresh_platform, [], 0, channel="' OR 1=1 --")
    with pytest.raises(UsageError, match="offset is -1"):
        send(fresh_platform, [], -1)
