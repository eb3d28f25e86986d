"""Following: micro-batches that grow with the backlog, files while they are written, and an end without loss."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from searchflow import streams, warehouse
from searchflow.ingestion import follow, worker
from searchflow.ingestion.accounting import accounting
from searchflow.ingestion.pace import BatchPace
from searchflow.settings import Settings
from tests import foreign
from tests.commands import CommandLine
from tests.prefect_api import call


def test_batches_grow_while_behind_and_shrink_when_caught_up() -> None:
    pace = BatchPace(least=100, most=350, seconds=1.0)
    sizes = []
    for received in (100, 200, 350, 350):
        pace.saw(received, now=10.0)
        sizes.append(pace.lines)
        assert pace.pause(now=10.0) == 0.0  # behind: no waiting
    assert sizes == [200, 350, 350, 350]
    pace.saw(200, now=11.0)
    assert (pace.lines, pace.pause(now=11.25)) == (350, 0.75)  # caught up: collect for a moment
    for _ in range(3):
        pace.saw(3, now=12.0)
    assert pace.lines == 100


def lines(first: int, last: int) -> bytes:
    return b"".join(foreign.line(**foreign.search(number)) + b"\n" for number in range(first, last))


@contextmanager
def following(work: Callable[[threading.Event], Any]) -> Iterator[list[Any]]:
    """`work` in a thread until the block ends; its result or error is in the list then."""
    stop, outcome = threading.Event(), list[Any]()

    def run() -> None:
        try:
            outcome.append(work(stop))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield outcome
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def until_stored(settings: Settings, count: int) -> None:
    deadline = time.monotonic() + 60
    with warehouse.connect(settings, read_only=True) as connection:
        while connection.execute("SELECT count(*) FROM raw.search_events").fetchall()[0][0] < count:
            assert time.monotonic() < deadline, "nothing happened in time"
            time.sleep(0.1)


def totals(settings: Settings) -> tuple[int, int, int]:
    with warehouse.connect(settings, read_only=True) as connection:
        found = accounting(connection)
    assert found.holds
    return found.received, found.stored, found.duplicates


@pytest.mark.integration
def test_a_trickle_is_collected_and_a_backlog_is_not_waited_for(fresh_platform: Settings) -> None:
    settings = fresh_platform.model_copy(update={"follow_batch_events": 500, "batch_events": 2_000})
    with streams.connect(settings) as client:
        streams.publish(client, "search", lines(0, 5_000).splitlines(), batch=100)
        sizes: list[int] = []
        with following(
            lambda stop: follow.follow_stream(
                settings,
                "search",
                stop=stop,
                clock=lambda: foreign.NOW,
                on_commit=lambda _, counts: sizes.append(counts.received),
            )
        ) as outcome:
            until_stored(settings, 5_000)
            behind = list(sizes)
            for number in range(5_000, 5_020):
                streams.publish(client, "search", [foreign.line(**foreign.search(number))], batch=1)
                time.sleep(0.02)
            until_stored(settings, 5_020)
    assert behind[0] == 500
    assert max(behind) == 2_000
    assert len(sizes) - len(behind) < 10  # twenty events did not become twenty commits
    assert outcome[0].counts.received == 5_020
    assert totals(settings) == (5_020, 5_020, 0)


@pytest.mark.integration
def test_a_folder_is_watched_while_files_appear_and_grow(fresh_platform: Settings, tmp_path: Path) -> None:
    settings = fresh_platform.model_copy(update={"follow_batch_seconds": 0.1})
    plain, packed = tmp_path / "plain.jsonl", tmp_path / "packed.jsonl.gz"
    with following(
        lambda stop: follow.follow_files(settings, tmp_path, stop=stop, clock=lambda: foreign.NOW)
    ) as outcome:
        whole = lines(0, 10)
        with plain.open("wb") as handle:
            handle.write(whole + lines(10, 11)[:40])  # in the middle of a line
            handle.flush()
            until_stored(settings, 10)
            handle.write(lines(10, 11)[40:])
        member = gzip.compress(lines(11, 2_000))
        with packed.open("wb") as handle:
            for first in range(0, len(member), 7_000):  # whatever part of a member has been written
                handle.write(member[first : first + 7_000])
                handle.flush()
                time.sleep(0.05)
            until_stored(settings, 2_000)
            handle.write(gzip.compress(lines(2_000, 2_010)))
        until_stored(settings, 2_010)
        replaced = tmp_path / "new.partial"
        replaced.write_bytes(lines(2_005, 2_020))
        replaced.replace(plain)
        until_stored(settings, 2_020)
    assert outcome[0].counts.stored == 2_020
    assert totals(settings) == (2_025, 2_020, 5)
    assert worker.ingest_files(settings, tmp_path, clock=lambda: foreign.NOW).counts.received == 0


@pytest.mark.integration
def test_a_gzip_file_is_decompressed_once_however_many_batches_it_takes(
    fresh_platform: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from searchflow.ingestion.content import Content

    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(lines(0, 3_000)))
    read, original = [0], Content.read

    def counted(content: Content, size: int) -> bytes:
        data = original(content, size)
        read[0] += len(data)
        return data

    monkeypatch.setattr(Content, "read", counted)
    settings = fresh_platform.model_copy(update={"batch_events": 200})
    assert worker.ingest_files(settings, path, clock=lambda: foreign.NOW).commits == 15
    assert read[0] < 1.2 * len(lines(0, 3_000))


@pytest.mark.integration
def test_the_command_follows_in_one_run_and_sigterm_ends_it_and_the_next_takes_over(home: Path) -> None:
    cli = CommandLine(home)
    settings = cli.settings
    process = cli.start("ingest", "--follow", "--json")
    deadline = time.monotonic() + 120
    while not (home / "run" / "valkey.json").exists() or not _runs(settings, "RUNNING"):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "the run did not start"
        time.sleep(0.5)
    moment = worker.utc_now().isoformat()
    with streams.connect(settings) as client:
        for first in range(0, 900, 300):
            sent = [foreign.line(**foreign.search(number, timestamp=moment)) for number in range(first, first + 300)]
            streams.publish(client, "search", sent)
            until_stored(settings, first + 300)
    following = cli.start("ingest", "--follow", "--json")  # waits for the streams of the first
    while len(_runs(settings, "RUNNING")) < 2:
        assert following.poll() is None, following.communicate()[1]
        assert time.monotonic() < deadline + 120, "the second run did not start"
        time.sleep(0.5)
    assert ended(process) == (900, 900)
    assert sorted(run["state_type"] for run in _runs(settings, None)) == ["COMPLETED", "RUNNING"]
    shown = call(settings, "/artifacts/filter", {}).json()
    [live] = [artifact for artifact in shown if artifact["key"] == "ingestion-live"]  # one, updated in place
    assert live["description"].startswith("Received 900 so far")
    with warehouse.connect(settings, read_only=True) as connection:
        found = connection.execute(
            "SELECT sum(received), sum(stored), arg_max(backlog, measured_at) FROM ops.ingestion_metrics"
        ).fetchall()
    assert found == [(900, 900, 0)]
    with streams.connect(settings) as client:
        sent = [foreign.line(**foreign.search(number, timestamp=moment)) for number in range(900, 1000)]
        streams.publish(client, "search", sent)
    until_stored(settings, 1000)
    assert ended(following) == (100, 100)


def ended(process: subprocess.Popen[str]) -> tuple[int, int]:
    """Tell a follower to end, and return what it received and stored."""
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    result = json.loads(out)
    return result["received"], result["stored"]


def _runs(settings: Settings, state: str | None) -> list[dict[str, Any]]:
    question = {"flows": {"name": {"any_": ["ingestion"]}}}
    if state is not None:
        question["flow_runs"] = {"state": {"type": {"any_": [state]}}}  # type: ignore[dict-item]
    try:
        answer = call(settings, "/flow_runs/filter", question)
    except httpx.HTTPError:
        return []
    return list(answer.json()) if answer.is_success else []
