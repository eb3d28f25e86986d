"""Which days new events change, from the events alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime

import duckdb
import pytest

from searchflow import warehouse
from searchflow.ops import record
from searchflow.settings import Settings
from searchflow.transformation import changes

pytestmark = pytest.mark.integration

MIDNIGHT = datetime(2026, 3, 9)  # noqa: DTZ001  (UTC, as the warehouse keeps it)
FAR = datetime(2999, 1, 1)  # noqa: DTZ001  (after every commit)


@pytest.fixture
def lake(fresh_platform: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with warehouse.connect(fresh_platform) as connection:
        yield connection


def commit(
    lake: duckdb.DuckDBPyConnection,
    batch: str,
    kind: str,
    event: str,
    when: str,
    session: str = "s",
    user: str | None = None,
    **payload: str,
) -> None:
    """One stored event, in a commit of its own."""
    stamp = datetime.fromisoformat(f"2026-{when}")
    lake.execute(
        f"INSERT INTO raw.{kind}_events VALUES (?, ?, ?, ?, ?, 1, ?, 'test', '1', ?)",
        [event, stamp, user, session, json.dumps(payload), stamp, batch],
    )
    record.rows(
        lake,
        "ops.ingestion_batches",
        [
            {
                "batch_id": batch,
                "shard": kind,
                "event_type": kind,
                "committed_at": stamp,
                "stored": 1,
                "first_event_ts": stamp,
                "last_event_ts": stamp,
                "touched_days": [stamp.date()],
            }
        ],
    )


def days(lake: duckdb.DuckDBPyConnection, *batches: str, identity: str | None = None) -> list[date]:
    new = [batch for batch in changes.new_batches(lake, "prod", FAR) if batch.batch_id in batches]
    return changes.changed_days(lake, new, gap_minutes=30, window_days=30, identity=identity).all


def march(*numbers: int) -> list[date]:
    return [date(2026, 3, number) for number in numbers]


def test_a_click_changes_the_day_of_its_search_and_a_booking_the_day_of_the_search_before_its_click(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    commit(lake, "old", "search", "a", "03-05 10:00")
    commit(lake, "click", "click", "c", "03-09 10:00", session="t", search_event_id="A")
    commit(lake, "booking", "conversion", "b", "03-12 10:00", session="u", click_event_id="c")
    assert days(lake, "click") == march(5, 9)
    assert days(lake, "booking") == march(5, 12)


def test_a_click_more_than_thirty_days_after_its_search_changes_its_own_day_only(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    commit(lake, "old", "search", "a", "01-05 10:00")
    commit(lake, "click", "click", "c", "03-09 10:00", search_event_id="a")
    assert days(lake, "click") == march(9)


def test_an_event_beside_midnight_changes_the_neighbouring_day_of_a_session_that_is_awake_there(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    commit(lake, "evening", "search", "a", "03-08 23:40")
    commit(lake, "other", "search", "b", "03-08 23:50", session="other")
    commit(lake, "afternoon", "search", "d", "03-10 15:00")
    commit(lake, "new", "search", "c", "03-09 00:05")
    assert days(lake, "new") == march(8, 9), "not the 10th: the session slept over that midnight"


def test_a_login_changes_the_days_of_the_sessions_anonymous_part(lake: duckdb.DuckDBPyConnection) -> None:
    commit(lake, "before", "search", "a", "03-02 10:00")
    commit(lake, "known", "search", "b", "03-03 10:00", session="known", user="u2")
    lake.execute(
        "CREATE TABLE ops.identity AS SELECT * FROM (VALUES "
        "('s', NULL, TIMESTAMP '2026-03-02 10:00:00', NULL), "
        "('known', 'u2', TIMESTAMP '2026-03-03 10:00:00', TIMESTAMP '2026-03-03 10:00:00')"
        ") AS t (session_id, user_id, first_seen_at, identified_at)"
    )
    commit(lake, "login", "search", "c", "03-09 10:00", user="u1")
    commit(lake, "again", "search", "d", "03-09 10:00", session="known", user="u2")
    assert days(lake, "login", identity="ops.identity") == march(2, 9)
    assert days(lake, "again", identity="ops.identity") == march(9)


def test_a_commit_is_new_once_for_each_environment(lake: duckdb.DuckDBPyConnection) -> None:
    commit(lake, "one", "search", "a", "03-02 10:00")
    found = changes.new_batches(lake, "prod", FAR)
    changes.mark_seen(lake, "prod", found, MIDNIGHT)
    assert [batch.batch_id for batch in found] == ["one"]
    assert changes.new_batches(lake, "prod", FAR) == []
    assert changes.new_batches(lake, "dev", FAR) == found
