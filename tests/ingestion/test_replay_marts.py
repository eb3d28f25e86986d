"""A replay of an old letter changes the day it belongs to, in the marts too, and says so."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from searchflow import warehouse
from searchflow.ingestion import worker
from searchflow.ingestion.dead_letters import fixes
from searchflow.ingestion.dead_letters import replay as replaying
from searchflow.ingestion.dead_letters.letters import Selection
from searchflow.settings import Settings
from searchflow.transformation import differences, transform
from tests import foreign

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*"),
]


def at(day: int, hour: int = 10) -> datetime:
    return datetime(2026, 5, day, hour, tzinfo=UTC)


def search(number: int, day: int, **changes: object) -> dict[str, object]:
    return foreign.search(number, timestamp=at(day).isoformat(), session_id=f"web-{number}", **changes)


def marts(settings: Settings) -> differences.Marts:
    with warehouse.connect(settings, read_only=True) as connection:
        return differences.marts(connection)


def changes(settings: Settings, before: differences.Marts, *batches: str) -> differences.Changes:
    with warehouse.connect(settings, read_only=True) as connection:
        return differences.since(connection, before, batches)


def test_a_replayed_letter_of_an_old_day_changes_that_day_and_the_marts_that_changed_are_named(
    fresh_platform: Settings, tmp_path: Path
) -> None:
    # One search a day; one more on the 14th is refused, for its number of results is text.
    events = [search(1, 14), search(2, 14, results_count="0"), search(3, 16), search(4, 19)]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    worker.ingest_files(fresh_platform, tmp_path, clock=lambda: at(19, 11))
    transform(fresh_platform, now=at(19, 12))
    before = marts(fresh_platform)
    assert changes(fresh_platform, before) == differences.Changes()

    fix = fixes.load("cast_field", {"field": "results_count", "to": "integer"})
    result = replaying.replay(fresh_platform, Selection(), clock=lambda: at(20, 9), actor="zoe", fix=fix)
    assert (result.stored, result.days) == (1, {date(2026, 5, 14)})
    assert transform(fresh_platform, now=at(20, 10)).restated_days == [date(2026, 5, 14)]

    found = changes(fresh_platform, before, *result.batches)
    by_mart = {change.mart: (change.rows_gone, change.rows_new) for change in found.marts}
    assert by_mart["marts.fct_search_funnel"] == (0, 1)  # made by days: the other search of the day was written again
    assert by_mart["marts.mart_kpi_daily"][0] >= 1  # made as a whole
    assert [(change.day, change.shown("searches"), change.shown("clicks")) for change in found.days] == [
        (date(2026, 5, 14), "1 -> 2", "0")
    ]
    assert (found.not_compared, found.other_batches) == ([], 0)
    assert changes(fresh_platform, before).other_batches == 1
