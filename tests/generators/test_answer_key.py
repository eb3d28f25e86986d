"""The sealed truth: what it holds, that it adds up over runs, and that nothing but verify reads it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from generators import AnswerKey, Batch, Simulation
from searchflow.settings import ROOT
from searchflow.verification import key as keys

NOW = datetime(2026, 6, 15, 14, 30, 12, 345000, tzinfo=UTC)


def write(folder: Path, name: str, batches: list[Batch], *, rows_a_file: int = 500) -> AnswerKey:
    key = AnswerKey(folder, name, rows_a_file=rows_a_file)
    for batch in batches:
        key.add(batch)
    key.seal()
    return key


@pytest.fixture(scope="module")
def batches(small: Simulation) -> list[Batch]:
    return list(small.batches(until=NOW, lines=300))


@pytest.fixture(scope="module")
def sealed(batches: list[Batch], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("key")
    write(folder, "run", batches)
    return folder / "run"


def test_every_line_has_its_fate_session_and_visitor(sealed: Path, batches: list[Batch]) -> None:
    lines = pl.read_parquet(sealed / "lines_*.parquet")
    assert len(list(sealed.glob("lines_*.parquet"))) > 2
    assert len(lines) == sum(map(len, batches)) == json.loads((sealed / "manifest.json").read_text())["lines"]
    assert lines.select("fate", "session_id", "visitor_id", "number").null_count().row(0) == (0, 0, 0, 0)
    clicks = lines.filter(pl.col("event_type") == "click")
    searches = lines.filter(pl.col("event_type") == "search")
    assert set(clicks["parent"]) <= set(searches["number"])


def test_a_journey_is_what_its_traveller_did_before_the_booking(sealed: Path) -> None:
    """Against a plain loop over the lines."""
    lines = pl.read_parquet(sealed / "lines_*.parquet").filter(pl.col("fate") == "stored")
    journeys = pl.read_parquet(sealed / "journeys_*.parquet")
    bookings = lines.filter(pl.col("event_type") == "conversion")
    assert set(journeys["conversion_event_id"]) == set(bookings["event_id"])
    visits: dict[tuple[str, str], datetime] = {}
    for who, session, at in (
        lines.filter(pl.col("event_type") != "click").select("visitor_id", "session_id", "timestamp").rows()
    ):
        visits[who, session] = min(at, visits.get((who, session), at))
    for event_id, who, booked in bookings.select("event_id", "visitor_id", "timestamp").rows():
        expected = [
            at for (someone, _), at in visits.items() if someone == who and booked - timedelta(days=30) < at <= booked
        ]
        mine = journeys.filter(pl.col("conversion_event_id") == event_id).sort("position")
        assert mine["visited_at"].to_list() == sorted(expected)


def test_kpis_by_day_are_those_of_the_events(sealed: Path) -> None:
    lines = pl.read_parquet(sealed / "lines_*.parquet").filter(pl.col("fate") == "stored")
    kpis = pl.read_parquet(sealed / "kpis_daily.parquet")
    people = lines.filter(~pl.col("visitor_id").str.starts_with("bot"))
    assert kpis["searches"].sum() == len(people.filter(pl.col("event_type") == "search"))
    assert kpis["conversions"].sum() == len(lines.filter(pl.col("event_type") == "conversion"))
    assert kpis["visits"].sum() == people.filter(pl.col("event_type") != "click")["session_id"].n_unique()
    assert sum(kpis[name].sum() for name in kpis.columns if name.startswith("cents_")) == lines["cents"].sum()


def test_parts_are_as_good_as_a_whole_and_keys_of_runs_add_up(batches: list[Batch], tmp_path: Path) -> None:
    write(tmp_path / "whole", "run", batches, rows_a_file=1_000_000)
    write(tmp_path / "runs", "run_1", batches[:4])
    write(tmp_path / "runs", "run_2", batches[4:])
    whole, runs = keys.read(tmp_path / "whole"), keys.read(tmp_path / "runs")
    assert whole.lines.sort(pl.all()).equals(runs.lines.sort(pl.all()))
    assert whole.totals.sort("day").equals(runs.totals.sort("day"))
    one, two = (pl.read_parquet(tmp_path / name / "*" / "journeys_*.parquet") for name in ("whole", "runs"))
    assert one.sort(pl.all()).equals(two.sort(pl.all()))  # the second run knows the visits of the first


def test_a_killed_run_has_no_seal_and_a_journal_until_its_last_line(batches: list[Batch], tmp_path: Path) -> None:
    killed = AnswerKey(tmp_path, "live", rows_a_file=600, journal=True)
    for batch in batches[:5]:
        killed.add(batch)
    killed.close()  # without a seal
    key = keys.read(tmp_path)
    assert key.unsealed == ["live"]
    assert len(key.lines) == sum(map(len, batches[:5]))
    assert not key.lines["sealed"].any()
    journal = tmp_path / "live" / "journal.arrow"
    journal.write_bytes(journal.read_bytes()[:-100])  # killed while it wrote
    assert len(keys.read(tmp_path).lines) < len(key.lines)
    again = write(tmp_path, "live", batches)
    assert again.attempt == 2
    assert keys.read(tmp_path).repeated
    assert not journal.exists()


def test_nothing_but_verify_reads_the_key() -> None:
    allowed = (
        "generators/", "searchflow/verification/", "searchflow/cli/", "searchflow/settings.py",
        "flows/generation.py", "benchmarks/generate.py", "benchmarks/publish.py",  # that write it, and time that
        "searchflow/services/process.py", "searchflow/erasure/",  # that make its folder, and leave it to its owner
        "searchflow/key_files.py",  # that names its files
    )  # fmt: skip
    mentions = []
    for folder in ("activations", "audits", "benchmarks", "dashboards", "deploy", "expectations", "flows", "generators",
                   "macros", "models", "searchflow"):  # fmt: skip
        for path in sorted((ROOT / folder).rglob("*")):
            name = str(path.relative_to(ROOT))
            if path.suffix not in (".py", ".sql", ".yaml", ".toml") or name.startswith(allowed):
                continue
            if re.search(r"answer.?key", path.read_text(encoding="utf-8"), re.IGNORECASE):
                mentions.append(name)
    assert mentions == []
