"""Whatever the contract and the feeds accept, every model is made of it, and no value becomes null on the way.

Values are drawn from the types of the contract themselves, so that a field that is added tomorrow is drawn from, too. All
drawn events lie in one lake: a lake an example would take minutes.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from searchflow import events, lake_calls, warehouse
from searchflow.ingestion.feeds import AdSpend, UserProfile, ingest_feeds
from searchflow.ingestion.worker import ingest_files
from searchflow.settings import ROOT, Settings
from searchflow.transformation import project, transform

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*"),
]
NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
JOURNEYS = 60
CURRENCIES = ("CAD", "USD", "EUR", "JPY", "KRW")
COLUMNS = {
    "search": {
        "query": "query",
        "price_min": "filters.price_min",
        "price_max": "filters.price_max",
        "check_in": "filters.dates.0",
        "check_out": "filters.dates.1",
        "travelers": "filters.travelers",
        "results_count": "results_count",
        "page": "page",
        "platform": "platform",
        "device_type": "device_type",
        "utm_source": "utm_source",
        "utm_medium": "utm_medium",
        "utm_campaign": "utm_campaign",
    },
    "click": {
        "search_event_id": "search_event_id",
        "result_id": "result_id",
        "result_position": "result_position",
        "result_type": "result_type",
        "result_price": "result_price",
        "result_provider": "result_provider",
        "result_destination": "result_destination",
    },
    "conversion": {
        "click_event_id": "click_event_id",
        "booking_value": "booking_value",
        "commission": "commission",
        "currency": "currency",
        "product_type": "product_type",
        "provider": "provider",
    },
}


def texts(least: int) -> st.SearchStrategy[str]:
    """Short ones of any character, and a few as long as an event can hold. An identifier holds no NUL."""
    character = st.characters(exclude_categories=["Cs"], exclude_characters="\0" if least else "")
    long = st.builds(lambda one, length: one * (length // len(one.encode())), character, st.integers(5, 12_000))
    return (
        st.text(character, min_size=least, max_size=12)
        | st.sampled_from(["CA", "web", "Lisbon", "'", "%"] + ([] if least else ["", "a\0b"]))
        | long
    )


def whole(low: int, high: int) -> st.SearchStrategy[int]:
    return st.sampled_from([low, high]) | st.integers(low, high)


def numbers(kind: msgspec.inspect.FloatType) -> st.SearchStrategy[float]:
    high = float(kind.le) if kind.le is not None else 999_999_999_999_999.9
    low = float(kind.ge or 0)
    if kind.multiple_of:
        return whole(int(low), int(high)).map(float)
    some = st.floats(low, high, allow_nan=False, allow_infinity=False)
    special = [each for each in (low, high, 0.005, 9e-10, 1e-320, 1_000_000.0, 1e14) if low <= each <= high]
    return st.sampled_from(special) | some


def drawn(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type of the contract, over its whole range."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return drawn(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        members = [each for each in kind.types if not isinstance(each, msgspec.inspect.NoneType)]
        # Inside filters and geo another JSON type is told as a schema change: the first is the contract's.
        ranged = [each for each in members if isinstance(each, msgspec.inspect.FloatType | msgspec.inspect.ListType)]
        return st.none() | drawn((ranged or members)[0])
    if isinstance(kind, msgspec.inspect.StructType):
        return st.fixed_dictionaries({each.encode_name: drawn(each.type) for each in kind.fields})
    if isinstance(kind, msgspec.inspect.ListType):
        return st.lists(drawn(kind.item_type), max_size=kind.max_length)
    if isinstance(kind, msgspec.inspect.IntType):
        return whole(kind.ge or 0, kind.le if kind.le is not None else (kind.lt or 1) - 1)
    if isinstance(kind, msgspec.inspect.FloatType):
        return numbers(kind)
    if isinstance(kind, msgspec.inspect.DateType):
        return (st.sampled_from([date.min, date.max]) | st.dates()).map(date.isoformat)
    if isinstance(kind, msgspec.inspect.DateTimeType):
        return st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
    if isinstance(kind, msgspec.inspect.BoolType):
        return st.booleans()
    assert isinstance(kind, msgspec.inspect.StrType), kind
    return texts(kind.min_length or 0)


def moments(latest: datetime) -> st.SearchStrategy[datetime]:
    recent = st.floats(0, 40 * 86_400).map(lambda back: latest - timedelta(seconds=back))
    return recent | st.datetimes(datetime(2015, 1, 1), latest.replace(tzinfo=None), timezones=st.just(UTC))  # noqa: DTZ001


@st.composite
def journeys(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A search, a click on it and a booking after it, each with every field of the contract."""
    user = draw(st.none() | texts(1))
    session, moment = draw(texts(1)), draw(moments(NOW))
    made = []
    for kind in COLUMNS:
        document = dict(draw(drawn(msgspec.inspect.type_info(events.EVENT_CLASSES[kind]))))
        document |= {"event_type": kind, "timestamp": moment.isoformat(), "session_id": session, "user_id": user}
        if "currency" in document and draw(st.booleans()):
            document["currency"] = draw(st.sampled_from(CURRENCIES))
        moment = min(moment + timedelta(seconds=draw(st.integers(1, 1_500))), NOW)
        made.append(document)
    return made


def numbered(found: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """With ids, which hypothesis would draw twice, and without what is larger than an event may be."""
    for place, journey in enumerate(found):
        ids = [f"{step}1111111-1111-4111-8111-{place:012d}" for step in range(3)]
        for step, (document, of) in enumerate(zip(journey, ("", "search_event_id", "click_event_id"), strict=True)):
            document |= {"event_id": ids[step], **({of: ids[step - 1]} if of else {})}
    return fitting(each for one in found for each in one)


def fitting(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if len(json.dumps(row).encode()) <= events.MAX_EVENT_BYTES]


def collected(strategy: st.SearchStrategy[Any], many: int, number: int) -> list[Any]:
    found: list[Any] = []

    @seed(number)
    @settings(
        max_examples=many,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(one: Any) -> None:
        found.append(one)

    collect()
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The whole project, with money reported in a currency of small units."""
    target = tmp_path / "project"
    for name in ("macros", "audits", "seeds", "materializations", "linter", "models"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "external_models.yaml", target)
    text = (ROOT / "config.yaml").read_text()
    assert "reporting_currency: CAD" in text
    (target / "config.yaml").write_text(text.replace("reporting_currency: CAD", "reporting_currency: KRW"))
    return target


def test_no_accepted_value_stops_a_model_or_becomes_null(fresh_platform: Settings, root: Path, tmp_path: Path) -> None:
    number = int(os.environ.get("SEARCHFLOW_TEST_SEED", random.randrange(2**32)))
    print(f"drawn with seed {number}: set SEARCHFLOW_TEST_SEED to draw the same")
    documents = numbered(collected(journeys(), JOURNEYS, number))
    spend = fitting(collected(drawn(msgspec.inspect.type_info(AdSpend)), 60, number))
    profiles = fitting(collected(drawn(msgspec.inspect.type_info(UserProfile)), 60, number))
    users = sorted({each["user_id"] for each in documents if each["user_id"]})
    store(
        fresh_platform,
        tmp_path,
        documents,
        spend,
        [*profiles, *({"user_id": user, "updated_at": NOW.isoformat()} for user in users if len(user) < 9_000)],
    )
    try:
        result = transform(fresh_platform, now=NOW, root=root)
        assert not [text for text in result.warnings if "recently_never" in text]
        assert not result.failed
    finally:
        project.forget(fresh_platform)
    with warehouse.connect(fresh_platform) as lake:
        for kind, columns in COLUMNS.items():
            agree(lake, kind, columns, [each for each in documents if each["event_type"] == kind])
        money_is_whole(lake, [each for each in documents if each["event_type"] == "conversion"])
        before = totals(lake)
        lake_calls.call(lake, lake_calls.FLUSH)
        assert totals(lake) == before  # in Parquet as in the catalog
        assert lake.execute(
            "SELECT count(*) FROM marts.mart_destination_demand WHERE avg_lead_time_days > 1095"
        ).fetchall() == [(0,)]


def store(settings: Settings, folder: Path, documents: list[Any], spend: list[Any], profiles: list[Any]) -> None:
    """Every drawn row is accepted."""
    for name, rows in (("events", documents), ("ad_spend", spend), ("user_profiles", profiles)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    events_in = ingest_files(settings, folder / "events.jsonl", clock=lambda: NOW).counts
    feeds_in = ingest_feeds(settings, folder, now=NOW)
    with warehouse.connect(settings, read_only=True) as lake:
        assert lake.execute("SELECT event_type, reason FROM raw.dead_letters").fetchall() == []
    assert (events_in.stored, feeds_in.stored) == (len(documents), len(spend) + len(profiles))


def at(document: Any, path: str) -> Any:
    for step in path.split("."):
        if isinstance(document, list):
            document = document[int(step)] if int(step) < len(document) else None
        else:
            document = (document or {}).get(step)
    return document


def agree(lake: Any, kind: str, columns: dict[str, str], documents: list[dict[str, Any]]) -> None:
    """Each column of staging holds what the event said."""
    found = {
        row[0]: dict(zip(columns, row[1:], strict=True))
        for row in lake.execute(f"SELECT event_id, {', '.join(columns)} FROM staging.stg_{kind}_events").fetchall()
    }
    assert len(found) == len(documents)
    for document in documents:
        row = found[document["event_id"]]
        for column, path in columns.items():
            value = at(document, path)
            if value is None:
                continue
            assert row[column] is not None, (column, value)
            if isinstance(value, float | int):
                assert abs(Decimal(repr(value)) - Decimal(row[column])) <= Decimal("0.005"), (column, value)
            elif column in ("check_in", "check_out"):
                assert str(row[column]) == value
            elif column not in ("currency", "search_event_id", "click_event_id"):
                assert row[column] == value, column


def money_is_whole(lake: Any, bookings: list[dict[str, Any]]) -> None:
    """What has a rate is in the reporting currency, and each attribution model credits all of it."""
    rated = [each for each in bookings if each["currency"] is None or each["currency"] in CURRENCIES]
    [(known, total)] = lake.execute(
        "SELECT count(booking_value_reporting), sum(booking_value_reporting) FROM staging.stg_conversion_events"
    ).fetchall()
    assert known >= len(rated) > 5
    credited = lake.execute("SELECT model, sum(revenue) FROM marts.mart_campaign_attribution GROUP BY model").fetchall()
    assert len(credited) == 7
    assert {revenue for _, revenue in credited} == {total}
    assert total > 10**15


def totals(lake: Any) -> list[Any]:
    sums = "sum(revenue), typeof(sum(revenue)), sum(searches), typeof(any_value(searches))"
    return [
        lake.execute(f"SELECT {sums} FROM {table}").fetchall()
        for table in ("marts.mart_kpi_daily", "marts.fct_search_funnel_daily", "intermediate.int_search_sessions")
    ]


def test_each_column_of_staging_is_looked_at() -> None:
    """A column that is added must be compared above."""
    seen = {name for columns in COLUMNS.values() for name in columns}
    said = {
        line.split(" AS ")[-1].split(",")[0].split(" ")[0].strip()
        for kind in COLUMNS
        for line in (ROOT / "models" / "staging" / f"stg_{kind}_events.sql").read_text().splitlines()
        if "TRY_CAST" in line
    }
    assert said <= seen
