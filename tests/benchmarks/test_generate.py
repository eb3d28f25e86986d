"""The benchmarks of the simulator work at a small size; what they measure is not judged here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import generate, publish
from benchmarks.report import Options

pytestmark = pytest.mark.integration


def test_files_are_written_by_all_cores_beside_polars_alone(tmp_path: Path) -> None:
    report = generate.run(Options(tmp_path, size=0.001))
    found = {figure.name: figure for figure in report.figures}
    assert 3_000 < report.facts["events"] < 5_000
    assert 3_500 < report.facts["one_day_of"] < 6_500
    assert found["all cores"].limit
    assert found["memory, all cores"].value > found["memory, one process"].value > 50
    assert all(figure.met is None for figure in report.figures)
    assert not list(tmp_path.glob("events_*"))


def test_streams_get_all_lines_even_when_they_are_full(tmp_path: Path) -> None:
    report = publish.run(Options(tmp_path, size=0.001))
    found = {figure.name: figure for figure in report.figures}
    assert found["lost in a full stream"].met
    assert report.facts["full_stream"]["lines"] > 7_900
    assert all(figure.limit for name, figure in found.items() if name.startswith("published"))
    assert sum(name.startswith("live at") for name in found) == len(publish.RATES)
