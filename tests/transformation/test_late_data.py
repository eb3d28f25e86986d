"""Late events: their days are on record, those days and no others are restated, and each figure's old and new value is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from searchflow import warehouse
from searchflow.ingestion.worker import ingest_files
from searchflow.settings import Settings
from searchflow.transformation import project, transform

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*"),
]


def uid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


def search(number: int, when: datetime, session: str) -> dict[str, Any]:
    about = {"event_id": uid(number), "event_type": "search", "session_id": session, "query": "hotels in Lisbon"}
    return {**about, "timestamp": when.isoformat(), "results_count": 20}


def click(number: int, when: datetime, session: str, on: int) -> dict[str, Any]:
    about = {"event_id": uid(number), "event_type": "click", "session_id": session, "result_id": "r1"}
    return {**about, "timestamp": when.isoformat(), "search_event_id": uid(on), "result_position": 3}


def booking(number: int, when: datetime, session: str, after: int, value: float) -> dict[str, Any]:
    about = {"event_id": uid(number), "event_type": "conversion", "session_id": session, "click_event_id": uid(after)}
    return {**about, "timestamp": when.isoformat(), "booking_value": value}


def load(settings: Settings, folder: Path, now: datetime, *events: dict[str, Any]) -> None:
    path = folder / f"{events[0]['event_id']}.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    ingest_files(settings, path, clock=lambda: now)


def query(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    with warehouse.connect(settings, read_only=True) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def home_with_models(fresh_platform: Settings) -> Iterator[Settings]:
    yield fresh_platform
    project.forget(fresh_platform)


RESTATED = """
    SELECT kpi_date, metric, old_value, new_value, late_searches, late_clicks, late_conversions, cause, len(batches)
    FROM ops.kpi_restatements ORDER BY restated_at, kpi_date, metric
"""


def test_the_days_of_late_events_and_no_others_are_restated_and_old_and_new_figures_are_kept(
    home_with_models: Settings, tmp_path: Path
) -> None:
    settings = home_with_models
    load(
        settings,
        tmp_path,
        at(11, 0, 5),
        search(1, at(8, 10), "anna"),
        search(2, at(9, 10), "ben"),
        search(3, at(10, 11), "cleo"),
        click(4, at(10, 11, 1), "cleo", on=3),
        booking(5, at(10, 11, 9), "cleo", after=4, value=100.0),
    )
    assert transform(settings, now=at(11, 0, 5)).restatements == 0, "first values are no restatements"
    assert query(settings, "SELECT count(*), count(previous_value) FROM ops.kpi_versions") == [(15, 0)]

    # A search and a booking of the 8th come three days late, and a click of today on the search of the 9th.
    load(
        settings,
        tmp_path,
        at(11, 9),
        search(6, at(8, 10, 10), "anna"),
        booking(7, at(8, 10, 20), "anna", after=99, value=49.5),
        click(8, at(11, 8, 30), "ben", on=2),
    )
    late = query(settings, "SELECT event_type, event_date, events FROM ops.late_days ORDER BY ALL")
    assert late == [("conversion", date(2026, 3, 8), 1), ("search", date(2026, 3, 8), 1)]
    result = transform(settings, now=at(11, 9))
    assert result.restated_days == [date(2026, 3, 8), date(2026, 3, 9)], (
        "the late day, and the day of the clicked search"
    )
    made = {run.name: {start.date() for start, _ in run.intervals} for run in result.models}
    assert made["intermediate.int_search_sessions"] == {date(2026, 3, 8), date(2026, 3, 11)}, (
        "neighbouring days are one range"
    )
    assert result.restatements == 4
    assert query(settings, RESTATED) == [
        (date(2026, 3, 8), "conversions", 0.0, 1.0, 1, 0, 1, "late events", 1),
        (date(2026, 3, 8), "revenue", 0.0, 49.5, 1, 0, 1, "late events", 1),
        (date(2026, 3, 8), "searches", 1.0, 2.0, 1, 0, 1, "late events", 1),
        (date(2026, 3, 9), "clicks", 0.0, 1.0, 0, 0, 0, "events of other days", 0),
    ]
    assert transform(settings, now=at(11, 9, 5)).restatements == 0

    # Killed before it was noted: the next run finds it, with the events that came in since the old value.
    with warehouse.connect(settings) as connection:
        connection.execute("DELETE FROM ops.kpi_versions WHERE recorded_at = '2026-03-11 09:00:00'")
    load(settings, tmp_path, at(11, 10), search(9, at(8, 10, 15), "anna"))
    assert transform(settings, now=at(11, 10)).restatements == 4
    assert query(settings, RESTATED)[2] == (date(2026, 3, 8), "searches", 1.0, 3.0, 2, 0, 1, "late events", 2)

    # What is final: the late events are learnt from, and the days say what may still come.
    days = query(
        settings,
        "SELECT kpi_date, finality > 0.9 AND finality <= 1, is_final, searches_to_come >= 0, conversions_to_come >= 0 "
        "FROM marts.mart_kpi_daily WHERE kpi_date <= '2026-03-09' ORDER BY 1",
    )
    assert days == [(date(2026, 3, day), True, False, True, True) for day in (8, 9)]
