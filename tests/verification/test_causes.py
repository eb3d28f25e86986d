"""How far attribution is from the truth, on numbers small enough to check by hand."""

from __future__ import annotations

from datetime import datetime

import duckdb
import polars as pl
import pytest

from searchflow import domain
from searchflow.settings import load_settings
from searchflow.verification import causes
from searchflow.verification.expected import World
from searchflow.verification.found import PlatformState

BOOKED = datetime(2026, 3, 1, 12)  # noqa: DTZ001 (UTC without a zone, as in the warehouse)


def booking(number: int, cents: int, cause: str) -> dict[str, object]:
    return {
        "event_id": f"e{number}", "event_type": "conversion", "timestamp": BOOKED, "session_id": f"s{number}",
        "visitor_id": f"u{number}", "identified": True, "cents": cents, "currency": "CAD", "cause": cause,
    }  # fmt: skip


@pytest.fixture
def found() -> PlatformState:
    connection = duckdb.connect(":memory:")
    connection.execute(
        """CREATE SCHEMA marts;
        CREATE TABLE marts.mart_campaign_attribution AS FROM (VALUES
            ('first_touch', 'email', 75.0), ('first_touch', 'organic', 25.0),
            ('last_touch', 'email', 20.0), ('last_touch', 'direct', 80.0)) AS t(model, channel, revenue)"""
    )
    return PlatformState(load_settings(), connection)


def test_the_distance_is_the_share_of_revenue_that_would_have_to_move(found: PlatformState) -> None:
    bookings = [booking(1, 5_000, "email"), booking(2, 5_000, "organic"), booking(3, 90_000, "none")]
    table, models = causes.compare(World(pl.DataFrame(bookings), domain.load()), found)
    truth = {row["channel"]: row["truth"] for row in table}
    assert truth == {"email": 0.5, "organic": 0.5, "direct": 0.0}  # what had no cause is no channel's merit
    assert [(row["model"], row["total_variation"], row["worst_channel"]) for row in models] == [
        ("first_touch", 0.25, "email"),
        ("last_touch", 0.8, "direct"),
    ]


def test_a_key_without_causes_says_nothing_of_them(found: PlatformState) -> None:
    unknown = pl.DataFrame([booking(1, 5_000, "email")]).with_columns(pl.lit(None, dtype=pl.String).alias("cause"))
    assert causes.compare(World(unknown, domain.load()), found) == ([], [])
