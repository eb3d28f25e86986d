"""Servers are killed, disks fill up, workers run twice: afterwards the events stored are those that were sent."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from searchflow import lifecycle, streams, warehouse
from searchflow.errors import SourceGapError, StorageError
from searchflow.ingestion import worker
from searchflow.services import postgres, process, remains, valkey
from searchflow.settings import ROOT, Settings, load_settings
from tests.chaos.kills import Sent, compare, publish
from tests.commands import CommandLine
from tests.conftest import temporary_home

pytestmark = pytest.mark.integration


def until(ready: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.1)


@contextmanager
def started(settings: Settings, *arguments: str, pace: float = 0.1) -> Iterator[subprocess.Popen[str]]:
    """A worker in a process of its own, ready to work; it commits every `pace` seconds."""
    command = [sys.executable, "-m", "tests.chaos.follower", *arguments]
    environment = os.environ | {"SEARCHFLOW_HOME": str(settings.home), "SEARCHFLOW_FOLLOW_BATCH_SECONDS": str(pace)}
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def end(child: subprocess.Popen[str]) -> str:
    """SIGTERM, and what it said on standard error; it must have ended in order."""
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 0, said
    return said


def kill(settings: Settings, name: str) -> None:
    """SIGKILL for a server and its children, as the out-of-memory killer would."""
    record = process.running(settings, name)
    assert record is not None
    found = [psutil.Process(record.pid), *psutil.Process(record.pid).children(recursive=True)]
    for each in found:
        each.kill()
    psutil.wait_procs(found, timeout=10)


def drained(settings: Settings) -> bool:
    return worker.waiting(settings)["search"] == 0


@pytest.mark.parametrize("server", [valkey.NAME, postgres.NAME])
def test_a_follower_outlives_its_servers(own_servers: Settings, server: str) -> None:
    settings, sent, draw = own_servers, Sent(), random.Random(11)
    with started(settings) as follower:
        for _ in range(3):
            for _ in range(4):
                publish(settings, sent, draw)
            time.sleep(draw.uniform(0.0, 0.5))
            kill(settings, server)
            time.sleep(0.5)
            lifecycle.start(settings)
        publish(settings, sent, draw)
        until(lambda: drained(settings))
        said = end(follower)
    assert said.strip(), "it did not notice"
    compare(settings, sent, finished=True)


def test_two_worker_processes_on_one_stream(own_servers: Settings) -> None:
    settings, sent, draw = own_servers, Sent(), random.Random(12)
    for _ in range(6):
        publish(settings, sent, draw)
    with started(settings, "--drain") as one, started(settings, "--drain") as other:
        for child in (one, other):
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        said = [child.communicate(timeout=90) for child in (one, other)]
        assert [one.returncode, other.returncode] == [0, 0], said
    worker.ingest_stream(settings, "search")  # what a fenced worker left
    compare(settings, sent, finished=True)


def test_a_full_disk_stops_with_nothing_half_written(home: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a disk that is full needs a small tmpfs, and mounting one needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    try:
        settings = load_settings(home=home, SEARCHFLOW_DATA_PATH=str(disk), inline_rows=0)
        lifecycle.start(settings)
        _fill_and_free(settings, disk)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _fill_and_free(settings: Settings, disk: Path) -> None:
    sent, draw = Sent(), random.Random(13)

    def go_on() -> None:
        for _ in range(60):
            publish(settings, sent, draw)
            worker.ingest_stream(settings, "search")

    with pytest.raises(StorageError, match="disk is full"):
        go_on()
    before = compare(settings, sent, finished=False)
    with pytest.raises(StorageError):
        worker.ingest_stream(settings, "search")
    assert compare(settings, sent, finished=False) == before
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    worker.ingest_stream(settings, "search")
    compare(settings, sent, finished=True)


@pytest.mark.parametrize("kills", [2, pytest.param(5, marks=pytest.mark.long)])
def test_postgres_starts_after_every_kill(home: Path, kills: int) -> None:
    """Its process id stays taken until the parent collects it, its backends in long queries do not notice."""
    settings = load_settings(home=home)
    process.prepare_home(settings)
    postgres.start(settings)
    for _ in range(kills):
        with psycopg.connect(postgres.conninfo(settings, "ledger"), autocommit=True) as idle:
            busy = threading.Thread(target=_long_query, args=(settings,))
            busy.start()
            until(lambda: _long_queries(idle) == 1)
            record = process.running(settings, postgres.NAME)
            assert record is not None
            os.kill(record.pid, signal.SIGKILL)  # the server alone, nothing waits for its end
            postgres.start(settings)
            postgres.check(settings)
            busy.join(30)
            assert not busy.is_alive()


def _long_query(settings: Settings) -> None:
    with psycopg.connect(postgres.conninfo(settings, "ledger")) as connection, contextlib.suppress(psycopg.Error):
        connection.execute("SELECT count(*) FROM generate_series(1, 2000000000)")


def _long_queries(connection: psycopg.Connection) -> int:
    found = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%generate_series%' "
        "AND pid <> pg_backend_pid()"
    ).fetchone()
    assert found is not None
    return int(found[0])


def test_another_program_with_the_id_of_a_killed_postgres(home: Path) -> None:
    settings = load_settings(home=home)
    process.prepare_home(settings)
    postgres.start(settings)
    data = postgres.data_dir(settings)
    kill(settings, postgres.NAME)
    owner = (data / "PG_VERSION").stat().st_uid
    other = subprocess.Popen(["sleep", "600"], user=owner) if os.geteuid() == 0 else subprocess.Popen(["sleep", "600"])
    try:
        lines = (data / remains.LOCK_FILE).read_text().split("\n")
        (data / remains.LOCK_FILE).write_text("\n".join([str(other.pid), *lines[1:]]))
        postgres.start(settings)
        postgres.check(settings)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize("arguments", [("ingest",), ("ingest", "--follow")])
def test_a_disk_that_fills_during_ingest_ends_it_in_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    if os.geteuid() != 0:
        pytest.skip("a disk that is full needs a small tmpfs, and mounting one needs root")
    with temporary_home() as disk:
        options = ["-t", "tmpfs", "-o", "size=600m,mode=0700", "tmpfs", str(disk)]
        if subprocess.run(["mount", *options], check=False).returncode:
            pytest.skip("mounting a tmpfs is not allowed here")
        command = CommandLine(disk)
        try:
            assert command.run("ingest").returncode == 0
            _fill_during(command, arguments)
        finally:
            (disk / "filler").unlink(missing_ok=True)
            command.run("down")
            subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _fill_during(command: CommandLine, arguments: tuple[str, ...]) -> None:
    sent, draw = Sent(), random.Random(14)
    for _ in range(150):
        publish(command.settings, sent, draw)
    batches = {"SEARCHFLOW_BATCH_EVENTS": "150", "SEARCHFLOW_FOLLOW_BATCH_EVENTS": "150"}
    with command.start(*arguments, **batches) as child:
        try:
            until(lambda: worker.waiting(command.settings)["search"] < 900)
            found = os.statvfs(command.home)
            with (command.home / "filler").open("wb") as filler, contextlib.suppress(OSError):
                filler.write(bytes(found.f_bavail * found.f_frsize - 400_000))
            _, said = child.communicate(timeout=400)  # by itself; seconds on a quiet machine
        finally:
            child.kill()
    lines = [line for line in said.splitlines() if line.startswith("searchflow: ")]
    assert child.returncode == 2, said
    assert [line.partition(".")[0] for line in lines] in (
        ["searchflow: The disk is full"],
        [f"searchflow: The disk that holds {command.home} is full"],
        ["searchflow: The disk is full: the batch was not committed and stays in its source"],
    )


def test_sigterm_is_obeyed_when_nothing_answers() -> None:
    code = (
        "import time\nfrom flows.support import stopped_by_signals\n"
        "with stopped_by_signals(0.5):\n    print('ready', flush=True)\n    time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.terminate()
        assert child.wait(20) == 128 + signal.SIGTERM


def test_a_stream_trimmed_behind_our_back_is_sent_again_and_complete(fresh_platform: Settings) -> None:
    settings, sent, draw = fresh_platform, Sent(), random.Random(14)
    publish(settings, sent, draw)
    worker.ingest_stream(settings, "search")
    publish(settings, sent, draw)
    stream = streams.EVENT_STREAMS["search"]
    with streams.connect(settings) as client:
        waiting = streams.read(client, stream, streams.START, entries=1000)
        client.xtrim(stream, maxlen=len(waiting) - 5, approximate=False)
        place = f"5 entries of the stream {stream} behind "
        with pytest.raises(SourceGapError, match=place):
            worker.ingest_stream(settings, "search")
        compare(settings, sent, finished=False)
        for _, fields in waiting[:5]:  # the producer sends them again
            client.xadd(stream, fields)  # type: ignore[arg-type]
    assert worker.accept_gap(settings, "search") == 5
    worker.ingest_stream(settings, "search")
    compare(settings, sent, finished=True)
    with warehouse.connect(settings, read_only=True) as connection:
        assert len(connection.execute("SELECT DISTINCT event_id FROM raw.search_events").fetchall()) == len(sent.ids)
