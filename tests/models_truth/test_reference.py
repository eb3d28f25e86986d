"""The models say what an independent computation says, row by row, whatever the events are.

Hundreds of histories instead of a few: `make test-long`, or `pytest tests/models_truth --hypothesis-profile=thorough`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

from searchflow.transformation import bare
from tests.models_truth.histories import FIRST, LAST, NOW, Event, Spend, histories, spendings
from tests.models_truth.support import clear, expected, store, store_spend, table
from tests.reference import attribution, clicks, funnel, recommendations, users, visits
from tests.reference.events import cents, frame

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*")


@pytest.fixture(scope="module")
def models() -> bare.BareModels:
    return bare.BareModels()


@pytest.fixture(scope="module")
def lake(models: bare.BareModels) -> Iterator[duckdb.DuckDBPyConnection]:
    with bare.warehouse() as connection:
        models.make(connection, FIRST, LAST, NOW)  # the views, and every table, empty
        yield connection


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(history=histories(), spend=spendings())
def test_every_model_says_what_the_reference_says(
    lake: duckdb.DuckDBPyConnection, models: bare.BareModels, history: list[Event], spend: list[Spend]
) -> None:
    clear(lake)
    lake.execute("DELETE FROM intermediate.int_identity")  # made by keys: those of another history would stay
    store(lake, history, "all", NOW)
    store_spend(lake, spend, NOW)
    models.make(lake, FIRST, LAST, NOW)
    compare(lake, [event.document for event in history if event.ingested_at <= NOW], spend, NOW)


def compare(lake: duckdb.DuckDBPyConnection, documents: list[str], spend: list[Spend], now: datetime) -> None:
    """Every model beside the reference made from the same JSON."""
    truth = Truth.of(documents, spend, now)
    for name, rows in truth.tables.items():
        if not rows:
            assert lake.execute(f"SELECT count(*) FROM {name}").fetchall() == [(0,)], name
            continue
        columns = list(rows[0])
        assert table(lake, name, columns) == expected(rows, columns), name


@dataclass(frozen=True)
class Truth:
    """What each model must hold: table -> rows."""

    tables: dict[str, list[dict[str, Any]]]

    @classmethod
    def of(cls, documents: list[str], spend: list[Spend], now: datetime) -> Truth:
        events = frame(documents)
        if not events.height:
            return cls({"intermediate.int_search_sessions": [], "marts.fct_search_funnel": []})
        owners = visits.identity(events)
        sessions = visits.sessions(events, owners)
        searches = funnel.funnel(events, sessions)
        touches = visits.touchpoints(sessions)
        booked = attribution.bookings(events, sessions)
        paths = attribution.journeys(booked, touches)
        tables = {
            "intermediate.int_identity": owners.to_dicts(),
            "intermediate.int_search_sessions": sessions.to_dicts(),
            "intermediate.int_touchpoints": touches.to_dicts(),
            "marts.fct_search_funnel": searches.to_dicts(),
        }
        if searches.height:
            tables["marts.fct_search_funnel_daily"] = funnel.funnel_daily(searches).to_dicts()
            tables["marts.mart_kpi_daily"] = funnel.kpis(events, sessions, searches)
            tables |= clicks.by_position(searches, now)
            tables |= recommendations.quality(searches, owners, now)
            tables |= _of_users(users.deeds(sessions, searches, booked), now)
        tables |= _of_attribution(booked, paths, sessions, touches, spend)
        return cls(tables)


def _of_users(everyone: dict[str, users.Deeds], now: datetime) -> dict[str, list[dict[str, Any]]]:
    histories_ = {user: users.history(did, now) for user, did in everyone.items()}
    scores = users.rfm(everyone)
    return {
        "marts.dim_users": users.users(everyone),
        "marts.mart_user_segments": [
            {"user_id": user, "segment": users.segment(did, now), **scores[user]} for user, did in everyone.items()
        ],
        "marts.mart_user_segment_history": [
            {"user_id": user, "segment": name, "valid_from": start, "valid_to": end}
            for user, periods in histories_.items()
            for name, start, end in periods
        ],
        "marts.mart_segment_transitions": users.transitions(histories_),
    }


def _of_attribution(
    booked: pl.DataFrame, paths: dict[str, Any], sessions: pl.DataFrame, touches: pl.DataFrame, spend: list[Spend]
) -> dict[str, list[dict[str, Any]]]:
    effects = attribution.removal_effects(sessions, LAST)
    costs = [(each.day, each.source, each.campaign, cents(each.cost, each.currency, each.day) or 0) for each in spend]
    return {
        "intermediate.int_user_journeys": [
            {"conversion_event_id": booking, "touchpoint_id": touch["touchpoint_id"], "position": place}
            for booking, path in paths.items()
            for place, touch in enumerate(path, start=1)
        ],
        "marts.mart_attribution_markov": [
            {"effect_date": day, "channel": name, "removal_effect": float(effect)}
            for day, channels in effects.items()
            for name, effect in channels.items()
        ],
        "marts.mart_campaign_attribution": attribution.performance(
            attribution.credited(booked, paths, effects), costs, touches
        ),
    }
