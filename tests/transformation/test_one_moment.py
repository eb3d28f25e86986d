"""All models of a run end at the same moment: each booking of the funnel is in the key figures and credited to its visit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from searchflow import warehouse
from searchflow.ingestion.worker import ingest_files
from searchflow.settings import ROOT, Settings
from searchflow.transformation import deployment, project, transform
from searchflow.transformation.failures import ModelsFailed

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*"),
]
NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 11, tzinfo=UTC)


def trip(number: int, booked_at: datetime, value: float = 100.0) -> list[dict[str, Any]]:
    """A visit through a newsletter that ends in a booking: a search, a click and a booking, a minute apart."""

    def event(place: int, kind: str, **more: Any) -> dict[str, Any]:
        when = booked_at - timedelta(minutes=2 - place)
        about = {"event_id": uid(number, place), "event_type": kind, "timestamp": when.isoformat()}
        return {**about, "session_id": f"s{number}", "user_id": f"user-{number}", **more}

    newsletter = {"utm_source": "news", "utm_medium": "email", "utm_campaign": "weekly"}
    return [
        event(0, "search", query="hotels in Lisbon", results_count=20, **newsletter),
        event(1, "click", search_event_id=uid(number, 0), result_id="r1", result_position=1),
        event(2, "conversion", click_event_id=uid(number, 1), booking_value=value),
    ]


def uid(number: int, place: int) -> str:
    return f"00000000-0000-4000-8000-{number:08d}{place:04d}"


def load(settings: Settings, folder: Path, now: datetime, events: list[dict[str, Any]]) -> None:
    path = folder / f"{events[0]['event_id']}.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    ingest_files(settings, path, clock=lambda: now)


def query(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    with warehouse.connect(settings, read_only=True) as connection:
        return connection.execute(sql).fetchall()


BOOKED = {
    "funnel": "SELECT sum(conversions)::INT, sum(revenue)::DOUBLE FROM marts.fct_search_funnel",
    "key figures": "SELECT sum(conversions)::INT, sum(revenue)::DOUBLE FROM marts.mart_kpi_daily",
    "users": "SELECT sum(conversions)::INT, sum(lifetime_revenue)::DOUBLE FROM marts.dim_users",
    "segments": "SELECT sum(conversions)::INT, sum(lifetime_revenue)::DOUBLE FROM marts.mart_user_segments",
    "journeys": "SELECT count(*)::INT, sum(booking_value_reporting)::DOUBLE FROM intermediate.int_user_journeys "
    "WHERE position = 1",
}
CREDITED = """
    SELECT DISTINCT sum(conversions)::INT, sum(revenue)::DOUBLE, list(DISTINCT channel) FROM marts.mart_campaign_attribution
    GROUP BY model
"""


def assert_each_holds(settings: Settings, bookings: int) -> None:
    """Every table counts these bookings of 100 each, and all seven models credit them to the newsletter."""
    expected = [(bookings, 100.0 * bookings)]
    assert {name: query(settings, sql) for name, sql in BOOKED.items()} == dict.fromkeys(BOOKED, expected)
    assert query(settings, CREDITED) == [(*expected[0], ["email"])]


@pytest.fixture
def home(fresh_platform: Settings) -> Iterator[Settings]:
    yield fresh_platform
    project.forget(fresh_platform)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A copy of the project, to change a model in."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("audits", "macros", "materializations", "models", "seeds", "linter"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("config.yaml", "external_models.yaml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def test_plan_run_restatement_and_changed_model_hold_each_booking_of_the_funnel(
    home: Settings, files: Path, tmp_path: Path
) -> None:
    # A first plan between two ticks of five minutes; one booking after the tick, one of a clock that is ahead of ours.
    now = NOON + timedelta(minutes=3, seconds=40)
    load(home, tmp_path, now, trip(1, NOON + timedelta(minutes=2)) + trip(2, now + timedelta(minutes=4)))
    assert transform(home, now=now, root=files).mode == "plan"
    assert_each_holds(home, 2)
    assert transform(home, now=now, root=files).mode == "nothing"

    # A run.
    now = NOON + timedelta(minutes=21, seconds=10)
    load(home, tmp_path, now, trip(3, now + timedelta(minutes=4, seconds=50)))
    assert transform(home, now=now, root=files).mode == "run"
    assert_each_holds(home, 3)

    # A restatement.
    transform(home, now=now, restate=[now.date()], root=files)
    assert_each_holds(home, 3)

    # A changed model beside a booking that its parents do not have yet, and one of a day before.
    model = files / "models" / "marts" / "mart_campaign_attribution.sql"
    model.write_text(
        model.read_text()
        .replace("Which campaign", "By which campaign")
        .replace("* 100)::BIGINT AS cents", "* 100.0)::BIGINT AS cents")
    )
    now = NOON + timedelta(minutes=48, seconds=7)
    load(home, tmp_path, now, trip(4, now - timedelta(seconds=30)) + trip(5, NOON - timedelta(days=2)))
    assert deployment.promote(home, now=now, root=files).mode == "plan"
    assert_each_holds(home, 5)


def test_a_booking_of_a_clock_ahead_of_midnight_is_in_no_model_before_and_in_all_models_after(
    home: Settings, tmp_path: Path
) -> None:
    now = MIDNIGHT - timedelta(minutes=2)
    load(home, tmp_path, now, trip(1, now - timedelta(minutes=30)))
    transform(home, now=now)
    # Searched before midnight, booked after it, received before it; a later one is received, and booked, before it.
    load(home, tmp_path, now + timedelta(seconds=10), trip(2, MIDNIGHT + timedelta(minutes=1)))
    load(home, tmp_path, now + timedelta(seconds=20), trip(3, now))
    taken = now + timedelta(seconds=30)
    transform(home, now=taken, taken=now)
    assert_each_holds(home, 2)

    after = MIDNIGHT + timedelta(seconds=20)
    transform(home, now=after, taken=taken)
    assert_each_holds(home, 3)
    assert transform(home, now=after + timedelta(seconds=5), taken=after).new_batches == 0, "taken once"


def test_a_first_plan_in_the_first_minutes_of_a_day_holds_that_day(home: Settings, tmp_path: Path) -> None:
    now = MIDNIGHT + timedelta(minutes=2, seconds=10)
    load(home, tmp_path, now, trip(1, MIDNIGHT + timedelta(minutes=1)))
    transform(home, now=now)
    assert_each_holds(home, 1)


def test_a_booking_that_journeys_or_key_figures_miss_stops_the_run(home: Settings, files: Path, tmp_path: Path) -> None:
    load(home, tmp_path, NOON, trip(1, NOON))
    journeys = files / "models" / "intermediate" / "int_user_journeys.sql"
    figures = files / "models" / "marts" / "mart_kpi_daily.sql"
    for path, wrong, audit in (
        (journeys, "  bookings.converted_at::DATE BETWEEN @start_ds AND @end_ds", "each_booking_has_its_journey"),
        (figures, "    position = 1\n", "each_booking_is_in_the_key_figures"),
    ):
        right = path.read_text()
        path.write_text(right.replace(wrong, f"{wrong.rstrip()} AND converted_at < '2026-03-10 11:30:00'\n"))
        assert path.read_text() != right
        with pytest.raises(ModelsFailed, match=f"breaks audit {audit} in 1 rows"):
            transform(home, now=NOON + timedelta(minutes=3), root=files)
        path.write_text(right)
    transform(home, now=NOON + timedelta(minutes=6), root=files)
    assert_each_holds(home, 1)
