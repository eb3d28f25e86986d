"""An event that a company's own model cannot digest is held back and told; all other events are made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from searchflow import warehouse
from searchflow.ingestion.accounting import accounting
from searchflow.ingestion.worker import ingest_files
from searchflow.settings import Settings
from searchflow.transformation import deployment, held_events, project, transform
from searchflow.transformation.failures import ModelsFailed
from tests import foreign
from tests.transformation.test_safe_change import root

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*"),
]
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MODEL = """
MODEL (
  name marts.mart_stars,
  kind FULL,
  grain search_event_id
);

SELECT
  search_event_id::TEXT AS search_event_id, /* The search */
  {cast} AS stars, /* What was typed is a number of stars */
  revenue::DECIMAL(38, 4) AS revenue /* What came of it */
FROM marts.fct_search_funnel
"""
STRICT, LENIENT = "query::INT", "TRY_CAST(query AS INT)"

assert root  # the fixture: a project of a few models


def put(root: Path, cast: str) -> None:
    (root / "models" / "marts" / "mart_stars.sql").write_text(MODEL.format(cast=cast))


def journey(number: int, query: str, at: str) -> list[dict[str, Any]]:
    """A search, a click and a booking of 100 CAD, in a session of their own."""
    same = {"timestamp": at, "session_id": f"s{number}"}
    return [
        foreign.search(number, query=query, **same),
        foreign.click(number, number, **same),
        foreign.conversion(number, number, booking_value=100, currency="CAD", **same),
    ]


def ingest(settings: Settings, folder: Path, name: str, events: list[dict[str, Any]], now: datetime) -> None:
    (folder / name).write_bytes(b"\n".join(foreign.line(**event) for event in events))
    ingest_files(settings, folder / name, clock=lambda: now)


def answer(settings: Settings, sql: str) -> list[Any]:
    with warehouse.connect(settings, read_only=True) as lake:
        return lake.execute(sql).fetchall()


STARS = "SELECT search_event_id, stars FROM marts.mart_stars ORDER BY 1"
FIGURES = "SELECT kpi_date::VARCHAR, searches, revenue::INT FROM marts.mart_kpi_daily ORDER BY 1"
IDS = {number: f"11111111-1111-4111-8111-{number:012d}" for number in range(1, 8)}


def test_what_a_model_cannot_digest_is_held_back_and_comes_back_when_the_model_changes(
    fresh_platform: Settings, root: Path, tmp_path: Path
) -> None:
    settings, later = fresh_platform, NOW + timedelta(hours=1)
    put(root, STRICT)
    first = [*journey(1, "4", "2026-03-09T10:00:00Z"), *journey(2, "five", "2026-03-09T11:00:00Z")]
    ingest(settings, tmp_path, "first.jsonl", first, NOW)
    try:
        result = transform(settings, now=NOW, root=root)  # the first plan
        assert any("1 event held back" in text and "mart_stars" in text for text in result.warnings)
        assert answer(settings, STARS) == [(IDS[1], 4)]
        assert answer(settings, FIGURES) == [("2026-03-09", 1, 200)]  # the search is held, its booking is not

        second = [
            *journey(3, "3", "2026-03-10T11:00:00Z"),
            *journey(4, "VI", "2026-03-09T12:00:00Z"),
            *journey(5, "-", "2026-03-10T10:00:00Z"),
        ]
        ingest(settings, tmp_path, "second.jsonl", second, later)
        result = transform(settings, now=later, root=root)  # a run, with two of them among new events of two days
        assert result.mode == "run"
        assert answer(settings, STARS) == [(IDS[1], 4), (IDS[3], 3)]
        assert answer(settings, FIGURES) == [("2026-03-09", 1, 300), ("2026-03-10", 1, 200)]
        with warehouse.connect(settings, read_only=True) as lake:
            held = held_events.held(lake)
            assert accounting(lake).holds
        assert {(each.event_type, each.event_id, each.model) for each in held} == {
            ("search", IDS[number], "marts.mart_stars") for number in (2, 4, 5)
        }
        [(stored, reasons)] = answer(
            settings, "SELECT (SELECT count(*) FROM raw.search_events), string_agg(reason) FROM ops.held_events"
        )
        assert stored == 5
        assert "Could not convert" in reasons
        assert "five" not in reasons  # a value may be personal

        with warehouse.connect(settings) as lake:  # asked for by a person: tried again, and held again
            assert held_events.ask_to_release(lake, IDS[4]) == 1
        result = transform(settings, now=later + timedelta(minutes=30), root=root)
        assert any("1 event held back" in text for text in result.warnings)
        assert answer(settings, STARS) == [(IDS[1], 4), (IDS[3], 3)]

        put(root, LENIENT)
        deployment.promote(settings, now=later + timedelta(hours=1), root=root)
        assert answer(settings, STARS) == [(IDS[1], 4), (IDS[2], None), (IDS[3], 3), (IDS[4], None), (IDS[5], None)]
        assert answer(settings, FIGURES) == [("2026-03-09", 3, 300), ("2026-03-10", 2, 200)]
        assert answer(settings, "SELECT count(*) FROM ops.held_events WHERE released_at IS NULL") == [(0,)]
    finally:
        project.forget(settings)


def test_a_model_that_is_wrong_itself_holds_nothing_back(fresh_platform: Settings, root: Path, tmp_path: Path) -> None:
    put(root, "CASE WHEN LENGTH(query) > 0 THEN ('x' || LENGTH(query)::TEXT)::INT END")
    events = [each for number in range(1, 40) for each in journey(number, "4", "2026-03-09T10:00:00Z")]
    ingest(fresh_platform, tmp_path, "events.jsonl", events, NOW)
    try:
        with pytest.raises(ModelsFailed, match=r"mart_stars failed: Conversion Error"):
            transform(fresh_platform, now=NOW, root=root)
        assert answer(fresh_platform, "SELECT count(*) FROM ops.held_events") == [(0,)]
    finally:
        project.forget(fresh_platform)
