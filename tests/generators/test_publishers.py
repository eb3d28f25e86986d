from __future__ import annotations

import gzip
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest

from generators import Batch, JsonlPublisher, RedisPublisher, Simulation, StdoutPublisher
from searchflow import streams
from searchflow.settings import Settings

NOW = datetime(2026, 6, 15, 14, 30, 12, 345000, tzinfo=UTC)


@pytest.fixture(scope="module")
def batches(small: Simulation) -> list[Batch]:
    return list(small.batches(until=NOW, lines=500))


@pytest.fixture(scope="module")
def mixed(batches: list[Batch]) -> list[bytes]:
    return [line for batch in batches for line in batch.mixed()]


def test_one_file_holds_all_types_in_the_order_of_arrival(
    batches: list[Batch], mixed: list[bytes], tmp_path: Path
) -> None:
    with JsonlPublisher(tmp_path, "all") as publisher:
        assert sum(publisher.publish(batch) for batch in batches) == len(mixed)
        assert not (tmp_path / "all.jsonl").exists()  # not before it is complete
    assert (tmp_path / "all.jsonl").read_bytes().split(b"\n")[:-1] == mixed
    assert [path.name for path in tmp_path.iterdir()] == ["all.jsonl"]


def test_compressed_files_by_type_are_equal_when_made_again(batches: list[Batch], tmp_path: Path) -> None:
    for folder in ("one", "two"):
        with JsonlPublisher(tmp_path / folder, "e", by_type=True, compress=True) as publisher:
            for batch in batches:
                publisher.publish(batch)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["e_click.jsonl.gz", "e_conversion.jsonl.gz", "e_search.jsonl.gz"]
    for name in names:
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "two" / name).read_bytes()
        assert gzip.decompress(content).count(b"\n") == sum(
            len(batch.frames[name.split("_")[1].split(".")[0]]) for batch in batches
        )


def test_a_failed_run_leaves_no_file(batches: list[Batch], tmp_path: Path) -> None:
    def interrupted() -> None:
        with JsonlPublisher(tmp_path, "e") as publisher:
            publisher.publish(batches[0])
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_standard_output_gets_one_line_an_event(batches: list[Batch], mixed: list[bytes]) -> None:
    out = io.BytesIO()
    with StdoutPublisher(out) as publisher:
        for batch in batches:
            publisher.publish(batch)
    assert out.getvalue() == b"".join(line + b"\n" for line in mixed)


@pytest.mark.integration
def test_streams_hold_exactly_the_lines_of_each_type(fresh_platform: Settings, batches: list[Batch]) -> None:
    client = streams.connect(fresh_platform)
    with RedisPublisher(client, capacity=100_000) as publisher:
        sent = sum(publisher.publish(batch) for batch in batches)
    assert sent == sum(len(batch) for batch in batches)
    for event_type, stream in streams.EVENT_STREAMS.items():
        entries = streams.read(client, stream, streams.START, entries=100_000)
        found = [line for _, fields in entries for line in streams.decode(fields)]
        assert found == [line for batch in batches for line in batch.lines(event_type)]
