"""The models follow the data: today's events at once, late ones on the days they change, and nothing else."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from searchflow import warehouse
from searchflow.ingestion.worker import ingest_files
from searchflow.settings import Settings
from searchflow.transformation import ModelProgress, graph, model_names, project, table_rows, transform, tree
from searchflow.transformation.failures import ModelsFailed

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*"),
]


def uid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def at(day: int, clock: str) -> datetime:
    hour, minute = clock.split(":")
    return datetime(2026, 3, day, int(hour), int(minute), tzinfo=UTC)


def naive(day: int, clock: str) -> datetime:
    """As the warehouse keeps times: UTC, without saying so."""
    return at(day, clock).replace(tzinfo=None)


def search(number: int, when: datetime, session: str, user: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "event_id": uid(number),
        "event_type": "search",
        "timestamp": when.isoformat(),
        "session_id": session,
        "user_id": user,
        "query": "hotels in Lisbon",
        "results_count": 20,
        **more,
    }


def click(number: int, when: datetime, session: str, on: int, user: str | None = None) -> dict[str, Any]:
    return {
        "event_id": uid(number),
        "event_type": "click",
        "timestamp": when.isoformat(),
        "session_id": session,
        "user_id": user,
        "search_event_id": uid(on),
        "result_id": "r1",
        "result_position": 3,
        "result_destination": "Lisbon",
    }


def booking(number: int, when: datetime, session: str, after: int, value: float, user: str) -> dict[str, Any]:
    return {
        "event_id": uid(number),
        "event_type": "conversion",
        "timestamp": when.isoformat(),
        "session_id": session,
        "user_id": user,
        "click_event_id": uid(after),
        "booking_value": value,
    }


def load(settings: Settings, folder: Path, now: datetime, *events: dict[str, Any]) -> None:
    """Through the front door, as a file of JSON lines."""
    path = folder / f"{events[0]['event_id']}.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    ingest_files(settings, path, clock=lambda: now)


def query(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    with warehouse.connect(settings, read_only=True) as connection:
        return connection.execute(sql).fetchall()


@contextmanager
def reader(settings: Settings, sql: str) -> Iterator[set[Any]]:
    """Ask again and again while the block runs; the answers."""
    answers: set[Any] = set()
    stop = threading.Event()

    def ask() -> None:
        with warehouse.connect(settings, read_only=True) as connection:
            while not stop.is_set():
                answers.update(connection.execute(sql).fetchall()[0])
                time.sleep(0.01)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def home_with_models(fresh_platform: Settings) -> Iterator[Settings]:
    yield fresh_platform
    project.forget(fresh_platform)


def test_each_run_adds_what_is_new_and_late_events_change_just_the_days_they_belong_to(
    home_with_models: Settings, tmp_path: Path
) -> None:
    settings = home_with_models
    load(
        settings,
        tmp_path,
        at(10, "12:00"),
        search(1, at(8, "10:00"), "anna"),
        search(2, at(9, "10:00"), "ben", "user-ben"),
        search(3, at(10, "11:00"), "cleo"),
    )
    before = dict(os.environ)
    steps: list[ModelProgress] = []
    first = transform(settings, now=at(10, "12:00"), on_progress=steps.append)
    assert dict(os.environ) == before, "SQLMesh reads a .env: nothing of it may stay in our environment"
    assert first.mode == "plan"
    assert {run.name for run in first.models} >= {"marts.fct_search_funnel", "marts.mart_kpi_daily"}
    assert {run.status for run in first.models} == {"succeeded"}
    assert {step.state for step in steps if step.model == "marts.fct_search_funnel"} == {"started", "succeeded"}
    assert steps[-1].models_done == steps[-1].models_total
    assert query(settings, "SELECT search_date, searches FROM marts.fct_search_funnel_daily ORDER BY 1") == [
        (date(2026, 3, 8), 1),
        (date(2026, 3, 9), 1),
        (date(2026, 3, 10), 1),
    ]

    # Nothing new, no time has passed: nothing is done.
    again = transform(settings, now=at(10, "12:00"))
    assert (again.mode, again.models) == ("nothing", [])

    # Today's part of a day is in, and only today is made again.
    load(settings, tmp_path, at(10, "15:00"), search(4, at(10, "14:30"), "cleo"))
    today = transform(settings, now=at(10, "15:00"))
    assert (today.mode, today.new_batches, today.restated_days) == ("run", 1, [])
    funnel = next(run for run in today.models if run.name == "marts.fct_search_funnel")
    assert funnel.intervals == [(naive(10, "00:00"), naive(10, "15:00"))]
    assert funnel.rows == 2

    # Two days later: a late search on the 8th; a click on the first search, and a booking by then logged-in Anna.
    load(
        settings,
        tmp_path,
        at(12, "10:00"),
        search(5, at(8, "10:10"), "anna"),
        click(6, at(11, "09:00"), "anna", on=1),
        booking(7, at(12, "09:30"), "anna", after=6, value=250.0, user="user-anna"),
    )
    late = transform(settings, now=at(12, "10:00"))
    assert late.restated_days == [date(2026, 3, 8)]
    funnel = next(run for run in late.models if run.name == "marts.fct_search_funnel")
    days = [start.date() for start, _ in funnel.intervals]
    assert date(2026, 3, 9) not in days, "a day that nothing touched is not made again"
    rows = query(
        settings,
        "SELECT right(search_event_id, 1), user_id, clicks, conversions, revenue::DOUBLE "
        "FROM marts.fct_search_funnel ORDER BY 1",
    )
    assert rows == [
        ("1", "user-anna", 1, 1, 250.0),
        ("2", "user-ben", 0, 0, 0.0),
        ("3", None, 0, 0, 0.0),
        ("4", None, 0, 0, 0.0),
        ("5", "user-anna", 0, 0, 0.0),
    ]
    assert query(settings, "SELECT kpi_date, searches, conversions FROM marts.mart_kpi_daily ORDER BY 1") == [
        (date(2026, 3, 8), 2, 0),
        (date(2026, 3, 9), 1, 0),
        (date(2026, 3, 10), 2, 0),
        (date(2026, 3, 11), 0, 0),
        (date(2026, 3, 12), 0, 1),
    ]

    # The result is that of making every day again.
    kept = {table: query(settings, f"SELECT * FROM {table} ORDER BY ALL") for table in INCREMENTAL}
    with reader(settings, "SELECT count(*) FROM marts.fct_search_funnel") as seen:
        transform(settings, now=at(12, "10:00"), restate=[date(2026, 3, day) for day in range(7, 13)])
    assert seen == {5}, "who reads meanwhile never finds a day empty"
    for table, expected in kept.items():
        assert query(settings, f"SELECT * FROM {table} ORDER BY ALL") == expected, table

    recorded = query(
        settings,
        "SELECT count(DISTINCT run_id), count(*) FILTER (WHERE status <> 'succeeded') FROM ops.model_runs",
    )
    assert recorded == [(4, 0)]
    with warehouse.connect(settings, read_only=True) as connection:
        assert table_rows(connection)["marts.fct_search_funnel"] == 5

    # Lineage needs a loaded project, so it is asked here.
    assert "marts.fct_search_funnel" in model_names(settings)
    revenue = tree(graph(settings), ("marts.fct_search_funnel", "revenue"))
    assert any(parent.table == "staging.stg_conversion_events" for parent in revenue.parents)


INCREMENTAL = (
    "intermediate.int_session_days",
    "intermediate.int_identity",
    "intermediate.int_search_sessions",
    "intermediate.int_user_journeys",
    "intermediate.int_user_days",
    "marts.dim_users",
    "marts.mart_user_segment_history",
    "marts.fct_search_funnel",
    "marts.fct_search_funnel_daily",
    "intermediate.int_arrivals_daily",
    "marts.mart_attribution_markov",
    "marts.mart_campaign_attribution",
    "marts.mart_destination_demand",
)


def test_a_failed_audit_names_the_model_the_audit_and_a_row_and_the_next_run_goes_on(
    home_with_models: Settings, tmp_path: Path
) -> None:
    settings = home_with_models
    load(settings, tmp_path, at(10, "12:00"), search(1, at(10, "10:00"), "anna"))
    with warehouse.connect(settings) as connection:  # past the contract, which refuses it
        connection.execute(
            "INSERT INTO raw.conversion_events VALUES (?, ?, NULL, 's', ?, 1, ?, 'test', '1', 'test')",
            [uid(9), naive(10, "11:00"), BAD_BOOKING, naive(10, "11:00")],
        )
    with pytest.raises(
        ModelsFailed, match=r"staging\.stg_conversion_events breaks audit assert_not_negative in 1 rows"
    ):
        transform(settings, now=at(10, "12:00"))
    statuses = dict(query(settings, "SELECT model, status FROM ops.model_runs"))
    assert statuses["staging.stg_conversion_events"] == "failed"
    assert statuses["staging.stg_search_events"] == "succeeded"

    with warehouse.connect(settings) as connection:
        connection.execute("DELETE FROM raw.conversion_events")
    assert transform(settings, now=at(10, "12:05")).failed == []
    assert query(settings, "SELECT count(*) FROM marts.fct_search_funnel") == [(1,)]


BAD_BOOKING = json.dumps({"click_event_id": uid(8), "booking_value": -5})
