"""What the soak calls a finding: causes and observations by hand, no servers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.soak import observer, resources, verdict
from tests.chaos.soak.journal import (
    ALARM,
    CLOSED_GATE,
    FAILED_RUN,
    STATUS,
    Cause,
    Expected,
    Journal,
    Observation,
    observed,
    read_causes,
    read_observations,
)
from tests.chaos.soak.resources import Sample
from tests.chaos.soak.verdict import RECOVERED, Notices

AT = datetime(2026, 10, 31, 23, 58, tzinfo=UTC)
UP = "services_up/stream server"
KILLED = (
    Expected(ALARM, UP, 60, must=True),
    Expected(FAILED_RUN, "*", 30),
    Expected(STATUS, "service *", 30, must=True),
)


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def killed(*, ended: float | None = 20.0) -> Cause:
    return Cause(1, "killed", AT, None if ended is None else after(ended), "", list(KILLED))


def burst() -> Cause:
    return Cause(2, "burst", AT, after(10), "", [])


def alarm(seconds: float, what: str = UP) -> Observation:
    return Observation(ALARM, what, after(seconds))


SEEN = Observation(STATUS, "service stream server", after(5))


def rules(causes: Sequence[Cause], *observations: Observation) -> list[str]:
    _, found = verdict.told(causes, observations, after(600))
    return [each.rule for each in found]


def test_what_was_told_once_and_in_time_is_no_finding() -> None:
    failed = Observation(FAILED_RUN, "stage ingestion", after(45))
    recovered = Observation(RECOVERED, UP, after(80))
    assert rules([killed(), burst()], SEEN, alarm(30), failed, recovered) == []


@pytest.mark.parametrize(
    ("observations", "rule"),
    [
        ((SEEN,), "alarm that was not told"),
        ((SEEN, alarm(30), alarm(40)), "alarm told twice"),
        ((alarm(30),), "unwell status that was not told"),
        ((SEEN, alarm(30), alarm(200)), "alarm without a cause"),
        ((SEEN, alarm(30), alarm(40, "fresh_marts/marts.a")), "alarm without a cause"),
        ((SEEN, alarm(30), Observation(FAILED_RUN, "stage x", after(51))), "failed run without a cause"),
        ((SEEN, alarm(30), Observation(FAILED_RUN, "stage x", after(-6))), "failed run without a cause"),
        ((SEEN, alarm(30), Observation(CLOSED_GATE, "marts.a", after(10))), "closed gate without a cause"),
        ((SEEN, alarm(30), Observation(STATUS, "accounting", after(10))), "unwell status without a cause"),
        ((SEEN, alarm(30), Observation(RECOVERED, "fresh_marts/a", after(40))), "recovery without a breach"),
    ],
)
def test_each_thing_that_does_not_fit_is_a_finding(observations: tuple[Observation, ...], rule: str) -> None:
    assert rules([killed(), burst()], *observations) == [rule]


def test_an_alarm_that_comes_too_late_is_untold_and_without_a_cause() -> None:
    assert rules([killed()], SEEN, alarm(61)) == ["alarm without a cause", "alarm that was not told"]


def test_a_burst_may_produce_nothing() -> None:
    assert rules([burst()], alarm(3, "ingestion_lag/search")) == ["alarm without a cause"]


def test_status_shows_a_level_before_monitoring_tells_it_and_that_is_no_second_alarm() -> None:
    shown = [Observation(STATUS, UP, after(seconds)) for seconds in (4, 10, 16)]
    assert rules([killed()], SEEN, *shown, alarm(30)) == []
    assert rules([killed()], SEEN, *shown) == ["alarm that was not told"]


def test_a_cause_that_has_no_end_lasts_until_the_end() -> None:
    failed = Observation(FAILED_RUN, "stage ingestion", after(500))
    assert rules([killed(ended=None)], SEEN, alarm(30), failed) == []


@pytest.mark.parametrize(
    ("found", "rule"),
    [
        (Notices(("a",), ("a",), ("a",)), None),
        (Notices(("a",), (), ("a",)), "alarm muted"),
        (Notices(("a",), ("a",), ()), "alarm muted"),
        (Notices(("a",), ("a", "a"), ("a",)), "alarm told twice"),
        (Notices(("a",), ("a", "b"), ("a",)), "alarm that was not noted"),
    ],
)
def test_each_notice_arrives_once_on_every_way(found: Notices, rule: str | None) -> None:
    assert [each.rule for each in verdict.notices(found)] == ([] if rule is None else [rule])


def test_a_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    cause = journal.begin("killed", AT, "valkey", list(KILLED))
    open_end = journal.begin("burst", after(1))
    journal.end(cause, after(20))
    observed(tmp_path, alarm(30))
    observed(tmp_path, SEEN)
    assert read_causes(tmp_path) == [cause, open_end]
    assert read_observations(tmp_path) == [SEEN, alarm(30)]


STATE: dict[str, Any] = {
    "services": {"stream server": "up", "flows": "up", "live-traffic": "not running"},
    "levels": [{"level": "a", "target": "b", "state": "kept", "value": 1, "unit": "count"}],
    "accounting": {"holds": True},
}


@pytest.mark.parametrize(
    ("change", "code", "unwell"),
    [
        ({}, 0, []),
        ({"services": {"flows": "not running"}}, 0, ["service flows"]),
        ({"levels": [{"level": "a", "target": "b", "state": "broken", "value": 1, "unit": "count"}]}, 0, ["a/b"]),
        ({"accounting": {"holds": False}}, 1, ["accounting"]),
        ({}, 1, ["exit status"]),
        ({}, 2, ["exit status"]),
    ],
)
def test_what_status_says_is_read(change: dict[str, Any], code: int, unwell: list[str]) -> None:
    assert [each.what for each in observer.of_status(code, json.dumps(STATE | change), "", AT)] == unwell


def test_a_status_that_does_not_answer_is_unwell() -> None:
    [found] = observer.of_status(1, "", "Traceback (most recent call last):", AT)
    assert (found.kind, found.what) == (STATUS, "status itself")


def series(minutes: int, figure: str, value: Any) -> list[Sample]:
    return [Sample(at * 10.0, {figure: value(at / 6)}) for at in range(minutes * 6)]


@pytest.mark.parametrize(
    ("figure", "value", "rule"),
    [
        ("memory_mb flows", lambda minute: 160 + 3 * math.sin(minute), None),
        ("memory_mb flows", lambda minute: 160 + min(minute, 5) * 20, None),  # caches fill in the first quarter
        ("memory_mb flows", lambda minute: 160 + minute, "memory leak"),
        ("memory_mb flows", lambda minute: 50 + 4 * minute, "resource grew"),
        ("descriptors flows", lambda minute: 30 + minute, "resource grew"),
        ("connections", lambda minute: 30 + minute % 5, None),
        ("files_a_table", lambda minute: 10 + 60 * (minute % 7 / 7), None),  # maintenance comes every seven minutes
        ("files_a_table", lambda minute: 10 + 60 * (minute % 7 / 7) + minute, "resource grew"),
        ("catalog_rows_a_snapshot", lambda minute: 40 + minute, "resource grew"),
        ("idle_in_transaction_s", lambda minute: minute % 5, None),
        ("idle_in_transaction_s", lambda minute: 60 * (minute % 3), "transaction left open"),
    ],
)
def test_growth_is_told_from_breath(figure: str, value: Any, rule: str | None) -> None:
    found = {each.rule for each in resources.bounded(series(30, figure, value))}
    assert found >= ({rule} if rule else set())
    assert rule is not None or not found


def test_a_server_that_is_away_counts_for_nothing() -> None:
    def value(minute: float) -> float:
        return 400.0 if 24 <= minute <= 28 else 30.0

    away = series(30, "connections", value)
    assert [each.rule for each in resources.bounded(away)] == ["resource grew"]
    assert list(resources.bounded(away, [(24 * 60, 28 * 60)])) == []
