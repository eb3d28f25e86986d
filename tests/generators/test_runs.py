from __future__ import annotations

import hashlib
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest

from generators import (
    FunnelSettings,
    GenerationState,
    JsonlPublisher,
    RunReport,
    load_state,
    next_range,
    publish_range,
    save_state,
)
from searchflow.errors import ConfigurationError, UsageError
from searchflow.settings import Settings, load_settings

NOW = datetime(2026, 6, 15, 14, 30, 12, 345678, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home")


def run(home: Settings, now: datetime, out: Path, **options: object) -> RunReport:
    wanted = next_range(load_state(home), now, days=10, events=1_500, seed=5)
    publisher = JsonlPublisher(out, f"events_{now:%Y%m%dT%H%M%S}")
    return publish_range(home, wanted, publisher, quiet=True, **options)  # type: ignore[arg-type]


def ids(folder: Path) -> list[str]:
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                document = msgspec.json.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
            if isinstance(document, dict):
                found.append(document["event_id"])
    return found


def test_a_second_run_adds_only_what_is_new(home: Settings, tmp_path: Path) -> None:
    first = run(home, NOW, tmp_path / "one")
    second = run(home, NOW + timedelta(hours=30), tmp_path / "two")
    assert first.events == pytest.approx(1_500, rel=0.15)
    assert 50 < second.events < 400
    assert second.range.after == first.range.until
    one, two = set(ids(tmp_path / "one")), set(ids(tmp_path / "two"))
    # An id that comes again is a fault of the first run (sent again, or in conflict) that arrives in the second.
    assert len(one & two) <= second.duplicates + second.dead_letters
    assert run(home, NOW + timedelta(hours=30), tmp_path / "three").lines == 0
    assert run(home, NOW, tmp_path / "three").lines == 0  # a clock that went back


class Killed(JsonlPublisher):
    """Dies when the events are out and the state is not written yet."""

    def __exit__(self, *_: object) -> None:
        super().__exit__(None, None, None)
        raise SystemError("killed")


def test_a_first_run_repeated_after_a_kill_sends_the_same_lines_again(home: Settings, tmp_path: Path) -> None:
    wanted = next_range(None, NOW, days=10, events=1_500, seed=5)
    with pytest.raises(SystemError, match="killed"):
        publish_range(home, wanted, Killed(tmp_path, "lost"), quiet=True)
    again = run(home, NOW + timedelta(hours=7), tmp_path / "again")
    assert again.range.is_first
    assert again.range.simulation == wanted.simulation
    (file,) = (tmp_path / "again").iterdir()
    assert file.read_bytes().startswith((tmp_path / "lost.jsonl").read_bytes())
    assert run(home, NOW + timedelta(hours=8), tmp_path / "more").range.after == again.range.until
    (first, _) = sorted(home.answer_key_dir.iterdir())
    assert json.loads((first / "manifest.json").read_text())["lines"] == again.lines


def test_the_answer_key_explains_every_line_and_is_sealed(home: Settings, tmp_path: Path) -> None:
    report = run(home, NOW, tmp_path / "out")
    (folder,) = home.answer_key_dir.iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    rows = pl.concat([pl.read_parquet(folder / name) for name in manifest["files"] if name.startswith("lines_")])
    assert len(rows) == report.lines == manifest["lines"] == len(_lines(tmp_path / "out"))
    fates = dict(rows["fate"].cast(pl.String).value_counts().iter_rows())
    assert fates["stored"] == report.events
    assert fates.get("duplicate", 0) == report.duplicates
    assert fates.get("dead_letter", 0) == report.dead_letters == sum(report.dead_letters_by_reason.values())
    assert rows.filter(pl.col("fate") == "dead_letter")["reason"].null_count() == 0
    for name, facts in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == facts["sha256"]
    assert rows["visitor_id"].null_count() == 0


def _lines(folder: Path) -> list[bytes]:
    return [line for path in folder.glob("*.jsonl") for line in path.read_bytes().splitlines()]


def test_a_stop_ends_in_order_and_the_next_run_goes_on(home: Settings, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    wanted = next_range(None, NOW, days=400, events=120_000)
    stopped = publish_range(home, wanted, JsonlPublisher(tmp_path, "one"), stop=stop, quiet=True)
    rest = publish_range(home, next_range(load_state(home), NOW), JsonlPublisher(tmp_path, "two"), quiet=True)
    assert stopped.stopped
    assert not rest.stopped
    assert rest.range.after == stopped.range.until
    assert stopped.events + rest.events == pytest.approx(120_000, rel=0.015)


def test_a_world_that_cannot_be_is_not_remembered(home: Settings, tmp_path: Path) -> None:
    wanted = next_range(None, NOW, days=3, events=100, funnel=FunnelSettings(conversion_rate=0.9))
    with pytest.raises(UsageError, match="conversion_rate"):
        publish_range(home, wanted, JsonlPublisher(tmp_path, "one"), quiet=True)
    assert load_state(home) is None


def test_the_state_is_kept_and_another_seed_is_refused(home: Settings) -> None:
    assert load_state(home) is None
    wanted = next_range(None, NOW, days=3, events=100, seed=9)
    assert wanted.is_first
    save_state(home, GenerationState(simulation=wanted.simulation, generated_until=wanted.until))
    state = load_state(home)
    assert state is not None
    assert state.simulation == wanted.simulation
    assert next_range(state, NOW + timedelta(days=1)).after == wanted.until
    assert next_range(state, NOW).is_empty
    with pytest.raises(UsageError, match="seed 9, not 1"):
        next_range(state, NOW, seed=1)


def test_a_damaged_state_says_which_file(home: Settings) -> None:
    home.home.mkdir(parents=True)
    (home.home / "generation.json").write_text('{"generated_until": 3')
    with pytest.raises(ConfigurationError, match=r"generation\.json"):
        load_state(home)
