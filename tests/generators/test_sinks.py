from __future__ import annotations

import gzip
import itertools
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from generators import Batch, FaultSettings, Range, Simulation, SimulationSettings, publish_range
from generators.direct import WarehousePublisher, channel_of
from generators.options import parse
from generators.rotation import RotatingPublisher, Rotation
from searchflow import warehouse
from searchflow.errors import UsageError
from searchflow.ingestion.accounting import accounting
from searchflow.settings import Settings, load_settings

NOW = datetime(2026, 6, 15, 14, 30, 12, 345000, tzinfo=UTC)


@pytest.fixture(scope="module")
def batches(small: Simulation) -> list[Batch]:
    return list(small.batches(until=NOW, lines=500))


@pytest.fixture(scope="module")
def mixed(batches: list[Batch]) -> list[bytes]:
    return [line for batch in batches for line in batch.mixed()]


def contents(files: list[Path]) -> list[list[bytes]]:
    opened = [gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes() for file in files]
    return [content.split(b"\n")[:-1] for content in opened]


@pytest.mark.parametrize("rule", ["1d", "50kb", "300 events", "1kb"])
@pytest.mark.parametrize("compress", [False, True])
def test_rotated_files_in_order_of_their_names_are_the_whole(
    batches: list[Batch], mixed: list[bytes], tmp_path: Path, rule: str, compress: bool
) -> None:
    rotation = Rotation.parse(rule)
    with RotatingPublisher(tmp_path, "e", rotation, compress=compress) as publisher:
        assert sum(publisher.publish(batch) for batch in batches) == len(mixed)
    files = sorted(tmp_path.iterdir())
    assert files == publisher.files
    parts = contents(files)
    assert list(itertools.chain.from_iterable(parts)) == mixed
    if rotation.events:
        assert {len(part) for part in parts[:-1]} == {300}
    if rotation.size:
        sizes = [sum(len(line) + 1 for line in part) for part in parts]
        assert all(size <= rotation.size or len(part) == 1 for size, part in zip(sizes, parts, strict=True))
        following = zip(sizes, parts[1:], strict=False)
        assert all(size + len(part[0]) + 1 > rotation.size for size, part in following)


def test_a_file_of_a_day_holds_what_arrives_on_it(batches: list[Batch], tmp_path: Path) -> None:
    with RotatingPublisher(tmp_path, "e", Rotation.parse("1d")) as publisher:
        for batch in batches:
            publisher.publish(batch)
    days = [
        len({at.date() for batch in batches for frame in batch.frames.values() for at in frame["arrived_at"].to_list()})
    ]
    assert len(publisher.files) == days[0]


def test_a_full_file_has_its_name_at_once_and_a_failed_run_keeps_only_full_ones(
    batches: list[Batch], tmp_path: Path
) -> None:
    def interrupted() -> None:
        with RotatingPublisher(tmp_path, "e", Rotation.parse("300events")) as publisher:
            publisher.publish(batches[0])
            assert (tmp_path / "e_000001.jsonl").exists()
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["e_000001.jsonl"]


@pytest.mark.parametrize("text", ["", "1", "h", "0h", "-1h", "10 lines", "1.5h"])
def test_a_rule_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--rotate"):
        Rotation.parse(text)


def test_settings_of_a_world_are_words() -> None:
    funnel, faults = parse(["click_rate=0.4", "late=0.05"])
    assert funnel is not None
    assert faults is not None
    assert (funnel.click_rate, faults.late, faults.duplicates) == (0.4, 0.05, FaultSettings().duplicates)
    assert parse([]) == (None, None)
    assert parse(["faults=none"]) == (None, FaultSettings.none())
    _, faults = parse(["new_field=app_build:integer:2026-06-01", "new_field=tier:string:2026-06-10"])
    assert faults is not None
    assert [(one.name, one.kind, str(one.since)) for one in faults.new_fields] == [
        ("app_build", "integer", "2026-06-01"), ("tier", "string", "2026-06-10")
    ]  # fmt: skip
    for wrong in ("late", "late=often", "lateness=0.1", "new_field=tier", "new_field=tier:money:2026-06-10"):
        with pytest.raises(UsageError, match="--set"):
            parse([wrong])


@pytest.mark.integration
def test_the_warehouse_stores_each_line_once_however_often_the_run_is_repeated(fresh_platform: Settings) -> None:
    world = SimulationSettings.for_history(
        until=NOW, days=3, events=1_500, seed=3, faults=FaultSettings(duplicates=0.05)
    )
    channel = channel_of(world, "begin")
    first = publish_range(
        fresh_platform, Range(world, None, NOW), WarehousePublisher(fresh_platform, channel), quiet=True
    )
    again = WarehousePublisher(fresh_platform, channel)
    publish_range(fresh_platform, Range(world, None, NOW), again, quiet=True)
    assert again.counts.received == 0
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        totals = accounting(connection)
    assert totals.holds
    assert (totals.received, totals.stored, totals.duplicates) == (first.lines, first.events, first.duplicates)


def test_the_key_of_files_lies_beside_them_and_the_home_remembers_nothing(tmp_path: Path) -> None:
    home = load_settings(home=tmp_path / "home")
    world = SimulationSettings.for_history(until=NOW, days=3, events=300, seed=3)
    publisher = RotatingPublisher(tmp_path / "out", "e", Rotation.parse("100events"))
    publish_range(
        home, Range(world, None, NOW), publisher, feeds_folder=tmp_path / "out", key_folder=tmp_path / "out" / "answer_key",
        remember=False, quiet=True,
    )  # fmt: skip
    assert len(list((tmp_path / "out" / "answer_key").glob("run_*/manifest.json"))) == 1
    assert not (tmp_path / "home").exists()


def test_a_reader_that_leaves_ends_the_output_without_a_traceback() -> None:
    script = (
        "from datetime import UTC, datetime\n"
        "from generators import Simulation, SimulationSettings, StdoutPublisher\n"
        "now = datetime(2026, 6, 15, tzinfo=UTC)\n"
        "world = SimulationSettings.for_history(until=now, days=30, events=20_000)\n"
        "with StdoutPublisher() as out:\n"
        "    for batch in Simulation(world).batches(until=now, lines=500):\n"
        "        if not out.gone:\n"
        "            out.publish(batch)\n"
    )
    command = [sys.executable, "-c", script]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"event_id"')
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
