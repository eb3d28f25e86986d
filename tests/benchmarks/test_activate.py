"""The benchmark of syncs works at a small size; its speed is not judged here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import activate
from benchmarks.report import Options

pytestmark = pytest.mark.integration


def test_both_deliveries_stand_beside_bare_writes(tmp_path: Path) -> None:
    report = activate.run(Options(tmp_path, size=0.001))
    idle, *deliveries, agreed, drifted = report.figures
    assert agreed.value > 0
    assert drifted.value > 0
    assert idle.unit == "s"
    assert [figure.limit_name for figure in deliveries] == ["bare COPY and upsert", "bare pipelined HSET"]
    assert all(figure.value > 0 and figure.limit for figure in deliveries)
    assert report.facts["ledger_batches"] == 2  # what had nothing to do left no batch
    assert all(figure.met is None for figure in report.figures)
