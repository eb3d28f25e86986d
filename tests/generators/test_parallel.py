"""Several processes send what one would have sent, and say so in the same report and answer key."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from generators import JsonlPublisher, RunReport, load_state, next_range, publish_range
from generators.parallel import OpenPublisher
from generators.publishers import Publisher, StreamPart, jsonl_part
from generators.simulation import Partition
from searchflow import streams
from searchflow.errors import SearchFlowError, StorageError
from searchflow.settings import Settings, load_settings

NOW = datetime(2026, 6, 15, 14, 30, 12, 345000, tzinfo=UTC)


def run(
    home: Settings, publisher: Publisher | OpenPublisher, processes: int = 1, stop: threading.Event | None = None
) -> RunReport:
    wanted = next_range(load_state(home), NOW, days=20, events=3_000, seed=5)
    return publish_range(home, wanted, publisher, processes=processes, stop=stop, quiet=True)


def lines(folder: Path) -> list[bytes]:
    return sorted(line for path in folder.glob("*.jsonl") for line in path.read_bytes().split(b"\n")[:-1])


def key_of(home: Settings) -> pl.DataFrame:
    parts = sorted(home.answer_key_dir.glob("run_*/lines_*.parquet"))
    return pl.concat([pl.read_parquet(path) for path in parts]).sort("event_id", "event_type", "arrived_at", "fate")


def test_two_processes_send_the_lines_of_one_with_the_same_report_and_answer_key(tmp_path: Path) -> None:
    one, two = load_settings(home=tmp_path / "h1"), load_settings(home=tmp_path / "h2")
    alone = run(one, JsonlPublisher(tmp_path / "alone", "e"))
    together = run(two, partial(jsonl_part, tmp_path / "together", "e"), processes=2)
    assert sorted(path.name for path in (tmp_path / "together").iterdir()) == ["e_part1of2.jsonl", "e_part2of2.jsonl"]
    assert lines(tmp_path / "together") == lines(tmp_path / "alone")
    assert {**together.as_dict(), "seconds": 0, "feeds": []} == {**alone.as_dict(), "seconds": 0, "feeds": []}
    assert key_of(two).equals(key_of(one))
    assert load_state(two) == load_state(one)


@pytest.mark.integration
def test_two_processes_fill_the_streams_with_the_lines_of_one(fresh_platform: Settings, tmp_path: Path) -> None:
    one, two = load_settings(home=tmp_path / "h1"), load_settings(home=tmp_path / "h2")
    run(one, JsonlPublisher(tmp_path, "e", by_type=True))
    report = run(two, partial(StreamPart, fresh_platform), processes=2)
    with streams.connect(fresh_platform) as client:
        for event_type, stream in streams.EVENT_STREAMS.items():
            entries = streams.read(client, stream, streams.START, entries=100_000)
            found = [line for _, fields in entries for line in streams.decode(fields)]
            assert len(found) == report.by_type[event_type]
            assert sorted(found) == sorted((tmp_path / f"e_{event_type}.jsonl").read_bytes().split(b"\n")[:-1])


def test_after_a_stop_all_processes_end_at_one_moment_and_the_next_run_goes_on(tmp_path: Path) -> None:
    home, whole = load_settings(home=tmp_path / "home"), load_settings(home=tmp_path / "whole")
    run(whole, JsonlPublisher(tmp_path / "all", "e"))
    stop = threading.Event()
    stop.set()
    stopped = run(home, partial(jsonl_part, tmp_path / "out", "a"), processes=2, stop=stop)
    run(home, partial(jsonl_part, tmp_path / "out", "b"), processes=2)
    assert stopped.range.until <= NOW
    assert lines(tmp_path / "out") == lines(tmp_path / "all")


def broken(partition: Partition) -> Publisher:
    raise StorageError("The disk is full. Free some space.")


def test_an_error_of_one_process_is_the_error_of_the_run(tmp_path: Path) -> None:
    home = load_settings(home=tmp_path / "home")
    with pytest.raises(SearchFlowError, match="disk is full"):
        run(home, broken, processes=2)
    state = load_state(home)
    assert state is not None
    assert state.generated_until is None
