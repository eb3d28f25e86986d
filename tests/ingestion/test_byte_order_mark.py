"""A byte-order mark in front of a line is read over, in files and in streams."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from searchflow import streams, warehouse
from searchflow.ingestion import worker
from searchflow.settings import Settings
from tests import foreign

pytestmark = pytest.mark.integration
MARK = b"\xef\xbb\xbf"


def lines(first: int, count: int) -> list[bytes]:
    return [foreign.line(**foreign.search(first + each)) for each in range(count)]


def rows(settings: Settings, sql: str) -> list[tuple[object, ...]]:
    with warehouse.connect(settings, read_only=True) as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_mark_in_front_of_a_file_or_of_any_line_is_no_part_of_it(
    fresh_platform: Settings, tmp_path: Path, end: bytes
) -> None:
    (tmp_path / "plain.jsonl").write_bytes(MARK + end.join(lines(1, 2)) + end)
    members = b"".join(gzip.compress(MARK + end.join(lines(first, 2)) + end) for first in (10, 20))
    (tmp_path / "members.jsonl.gz").write_bytes(members)  # two such files, put together
    done = worker.ingest_files(fresh_platform, tmp_path, clock=lambda: foreign.NOW)
    assert (done.counts.received, done.counts.stored, done.counts.dead_letters) == (6, 6, 0)
    kept = rows(fresh_platform, "SELECT count(*), count(payload ->> '$.event_id') FROM raw.search_events")
    assert kept == [(6, 6)]  # models read each as JSON


def test_the_same_event_with_and_without_a_mark_is_an_exact_duplicate(fresh_platform: Settings, tmp_path: Path) -> None:
    [line] = lines(1, 1)
    (tmp_path / "a.jsonl").write_bytes(MARK + line + b"\n" + line + b"\n")
    done = worker.ingest_files(fresh_platform, tmp_path, clock=lambda: foreign.NOW)
    assert (done.counts.stored, done.counts.duplicates, done.counts.dead_letters) == (1, 1, 0)


def test_a_mark_in_front_of_an_entry_of_a_stream_is_read_over(fresh_platform: Settings) -> None:
    with streams.connect(fresh_platform) as client:
        for each in lines(1, 2):
            client.xadd(streams.EVENT_STREAMS["search"], {b"data": MARK + each})
    done = worker.ingest_stream(fresh_platform, "search", clock=lambda: foreign.NOW)
    assert (done.counts.stored, done.counts.dead_letters) == (2, 0)


def test_what_is_wrong_behind_a_mark_is_told_and_kept_byte_for_byte(fresh_platform: Settings, tmp_path: Path) -> None:
    broken = [MARK + b'{"event_type": "search"}', MARK + MARK + lines(1, 1)[0], MARK]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(broken) + b"\n")
    done = worker.ingest_files(fresh_platform, tmp_path, clock=lambda: foreign.NOW)
    assert done.counts.dead_letters == 3
    kept = rows(fresh_platform, "SELECT raw_payload, reason_code FROM raw.dead_letters ORDER BY source_position")
    assert [content for content, _ in kept] == broken
    assert kept[0][1] == "missing_field"  # not that it is no JSON
