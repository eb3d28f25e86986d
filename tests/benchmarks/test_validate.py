"""The benchmark of the quality suites works at a small size; what it measures is not judged here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import validate
from benchmarks.report import Options

pytestmark = pytest.mark.integration


def test_it_checks_a_whole_table_and_then_one_day(tmp_path: Path) -> None:
    report = validate.run(Options(tmp_path, size=0.001))
    assert report.facts["all_rows"]["scope"] == "all rows"
    assert report.facts["one_changed_day"]["scope"] == "1 changed day"
    assert report.facts["all_rows"]["rows"] == 10_000
    assert {report.facts[scope]["outcome"] for scope in ("all_rows", "one_changed_day")} <= {"pass", "warn"}
    assert all(figure.met is None for figure in report.figures)
