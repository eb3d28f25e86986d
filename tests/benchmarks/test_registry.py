"""What holds for every benchmark, and how `searchflow bench` shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import registry
from benchmarks.report import Figure, Options, Report
from searchflow.cli import app, bench
from searchflow.errors import NotFoundError


@pytest.mark.parametrize("name", registry.names())
def test_every_benchmark_says_what_it_measures_and_can_run(name: str) -> None:
    benchmark = registry.load(name)
    assert len(registry.title(benchmark)) > 20
    assert registry.title(benchmark).endswith(".")
    assert callable(benchmark.run)


def test_an_unknown_benchmark_lists_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match="Known: "):
        registry.load("perpetual_motion")


def test_a_ratio_compares_with_the_limit_of_the_same_run() -> None:
    assert Figure("rate", 50.0, "events/s", limit=200.0).ratio == 0.25
    assert Figure("rate", 50.0, "events/s").ratio is None


def test_a_missed_target_is_the_answer_no(tmp_path: Path) -> None:
    good, bad, open_ = (Figure(name, 1.0, "s", met=met) for name, met in (("a", True), ("b", False), ("c", None)))
    assert Report("x", "X.", [good, bad, open_]).missed == [bad]
    assert Options(tmp_path, size=0.01).scaled(1_000_000) == 10_000
    assert Options(tmp_path, size=0.01).scaled(60, least=2) == 2


class Fixed:
    """A benchmark that always finds the same."""

    __doc__ = "Nothing at all."

    def __init__(self, met: bool) -> None:
        self.met = met

    def run(self, options: Options) -> Report:
        assert options.workspace.is_dir()
        figure = Figure("speed", options.size * 100, "events/s", limit=100.0, target="at least 50", met=self.met)
        return Report("fixed", self.__doc__, [figure], {"cores": 2})


@pytest.mark.parametrize(("met", "status"), [(True, 0), (False, 1)])
def test_the_command_prints_one_document_and_says_no_when_a_target_is_missed(
    met: bool, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "names", lambda: ["fixed"])
    monkeypatch.setattr(registry, "load", lambda name: Fixed(met))
    assert app.run(["bench", "fixed", "--size", "0.5", "--json"]) == status
    (report,) = json.loads(capsys.readouterr().out)
    assert report["figures"][0]["value"] == 50
    assert report["ratios"] == {"speed": 0.5}
    assert app.run(["bench", "--size", "0.5"]) == status
    shown = capsys.readouterr().out
    assert "at least 50" in shown
    assert bench.EXIT_NO == 1
