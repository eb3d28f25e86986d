from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from generators import Batch, FaultSettings, JsonlPublisher, RedisPublisher, Simulation, SimulationSettings
from generators.faults import REASONS
from generators.recorded import NAMESPACE, Limits
from generators.replay import Replay, run
from generators.rotation import RotatingPublisher, Rotation
from searchflow import streams
from searchflow.errors import UsageError
from searchflow.settings import Settings

NOW = datetime(2026, 6, 15, 14, 30, 12, 345000, tzinfo=UTC)
LIMITS = Limits(datetime(2015, 1, 1, tzinfo=UTC), NOW + timedelta(minutes=5))
WRONG = FaultSettings(duplicates=0.02, late=0.05, out_of_order=0.1, **dict.fromkeys(REASONS, 0.003))


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    world = SimulationSettings.for_history(until=NOW, days=6, events=3_000, seed=7, faults=WRONG)
    return list(Simulation(world).batches(until=NOW, lines=500))


@pytest.fixture(scope="module")
def recorded(batches: list[Batch], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    with JsonlPublisher(folder, "e", compress=True) as publisher:
        for batch in batches:
            publisher.publish(batch)
    return folder


def replayed(source: Path, out: Path, shift: int = 0) -> list[bytes]:
    run(Replay([source], LIMITS), JsonlPublisher(out, "again"), shift=shift)
    return (out / "again.jsonl").read_bytes().split(b"\n")[:-1]


def test_kept_times_are_the_same_bytes(batches: list[Batch], recorded: Path, tmp_path: Path) -> None:
    assert replayed(recorded, tmp_path) == [line for batch in batches for line in batch.mixed()]


def moved(line: bytes, shift: timedelta) -> bytes | dict[str, Any]:
    """What a line must become, computed one by one."""
    try:
        event = json.loads(line)
        at = datetime.fromisoformat(event["timestamp"])
        uuid.UUID(event["event_id"])
    except (ValueError, KeyError, TypeError):
        return line
    if not LIMITS.earliest <= at <= LIMITS.latest:
        return line
    event["timestamp"] = (at + shift).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    name = f"+{shift // timedelta(milliseconds=1)}"
    for key in ("event_id", "search_event_id", "click_event_id"):
        if key in event:
            event[key] = str(uuid.uuid5(NAMESPACE, event[key] + name))
    days = timedelta(days=round(shift / timedelta(days=1)))
    if "dates" in event.get("filters", {}):
        dates = event["filters"]["dates"]
        event["filters"]["dates"] = [str((datetime.fromisoformat(day) + days).date()) for day in dates]
    return event  # type: ignore[no-any-return]


@pytest.mark.parametrize("shift", [timedelta(days=3), timedelta(hours=-30, milliseconds=7)])
def test_shifted_every_time_and_id_moves_and_rubbish_stays(
    batches: list[Batch], recorded: Path, tmp_path: Path, shift: timedelta
) -> None:
    found = replayed(recorded, tmp_path, shift // timedelta(milliseconds=1))
    wanted = [moved(line, shift) for batch in batches for line in batch.mixed()]
    assert len(found) == len(wanted)
    unchanged = [one for one in wanted if isinstance(one, bytes)]
    assert len(unchanged) > 40
    for line, one in zip(found, wanted, strict=True):
        assert (line if isinstance(one, bytes) else json.loads(line)) == one
    assert found == replayed(recorded, tmp_path, shift // timedelta(milliseconds=1))  # the same again


def test_several_files_are_merged_by_time(batches: list[Batch], tmp_path: Path) -> None:
    with RotatingPublisher(tmp_path / "by_day", "e", Rotation.parse("1d")) as rotated:
        for batch in batches:
            rotated.publish(batch)
    with JsonlPublisher(tmp_path / "by_type", "e", by_type=True) as split:
        for batch in batches:
            split.publish(batch)
    lines = [line for batch in batches for line in batch.mixed()]
    for source in ("by_day", "by_type"):
        found = replayed(tmp_path / source, tmp_path / f"{source}_again")
        assert sorted(found) == sorted(lines)
    assert replayed(tmp_path / "by_day", tmp_path / "again") == lines
    replay = Replay([tmp_path / "by_type"], LIMITS)
    due = [at for frame in replay.frames(0) for at in frame["due"].to_list()]
    assert due == sorted(due)


def test_where_a_shift_leads(recorded: Path) -> None:
    replay, now = Replay([recorded], LIMITS), NOW + timedelta(days=100)
    ms = timedelta(milliseconds=1)
    assert replay.shift_to(None, now, None) == 0
    assert replay.last + replay.shift_to("now", now, None) == (now - datetime(1970, 1, 1, tzinfo=UTC)) // ms
    assert replay.first + replay.shift_to("now", now, 1.0) == (now - datetime(1970, 1, 1, tzinfo=UTC)) // ms
    assert replay.shift_to("2026-07-09", now, None) == timedelta(days=30) // ms
    with pytest.raises(UsageError, match="--shift-to"):
        replay.shift_to("tomorrow", now, None)


def test_the_pace_is_the_recorded_one(tmp_path: Path) -> None:
    for number in range(5):
        at = NOW - timedelta(seconds=20 - 4 * number)
        with (tmp_path / "slow.jsonl").open("a") as file:
            file.write(json.dumps({"event_id": str(uuid.UUID(int=number)), "timestamp": at.isoformat()}) + "\n")
    report = run(Replay([tmp_path], LIMITS), JsonlPublisher(tmp_path / "out", "again"), speed=32.0)
    assert report.lines == 5
    assert report.seconds >= 16 / 32
    stop = threading.Event()
    stop.set()
    assert run(Replay([tmp_path], LIMITS), JsonlPublisher(tmp_path / "o", "a"), speed=1.0, stop=stop).lines == 0


def test_files_without_events_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("rubbish\n")
    with pytest.raises(UsageError, match="no event with a time"):
        Replay([tmp_path], LIMITS)


@pytest.mark.integration
def test_a_replay_into_the_streams_is_what_was_recorded_in_the_order_it_arrived(
    batches: list[Batch], recorded: Path, fresh_platform: Settings
) -> None:
    published: list[bytes] = []
    with streams.connect(fresh_platform) as client:
        run(Replay([recorded], LIMITS), RedisPublisher(client, entry=100), by_type=True)
        for event_type, stream in streams.EVENT_STREAMS.items():
            entries = streams.read(client, stream, streams.START, entries=1_000)
            found = [line for _, fields in entries for line in streams.decode(fields)]
            published += found
            # Which type a broken line has cannot always be read; the good ones are where they belong, in order.
            stored = {line for batch in batches for line in batch.frames[event_type].filter(fate=0)["line"]}
            mine = [line for batch in batches for line in batch.lines(event_type) if line in stored]
            assert [line for line in found if line in stored] == mine
    assert sorted(published) == sorted(line for batch in batches for line in batch.mixed())


def test_a_replay_to_standard_output_is_the_recorded_lines(recorded: Path, batches: list[Batch]) -> None:
    command = [sys.executable, "-m", "searchflow.cli", "replay", str(recorded), "--to", "stdout"]
    found = subprocess.run(command, capture_output=True, check=True, cwd=Path(__file__).parents[2])
    assert found.stdout.split(b"\n")[:-1] == [line for batch in batches for line in batch.mixed()]
