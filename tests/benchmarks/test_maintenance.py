"""The benchmark of maintenance works at a small size; what it measures is not judged here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import maintenance
from benchmarks.report import Options

pytestmark = pytest.mark.integration


def test_files_are_counted_before_and_after_each_run(tmp_path: Path) -> None:
    report = maintenance.run(Options(tmp_path, size=0.001))
    files, before, *_ = report.figures
    assert report.facts["files_after_each"] == [1] * report.facts["maintenance_runs"]
    assert before.value > files.value == 1
    assert report.facts["commits"] == 5 * report.facts["maintenance_runs"]
    assert files.met is None
