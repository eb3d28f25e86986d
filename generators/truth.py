"""The truth of what really happened, as frames for the answer key: the numbers behind each line in words, journeys, and
KPIs by day.

`searchflow verify` reads these files with nothing but Polars, so names stand here where the simulation has numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import polars as pl

from generators import faults
from generators.campaigns import CAMPAIGNS
from generators.places import CITY_COUNTRY, COUNTRIES, DESTINATIONS, DEVICES
from searchflow.event_types import NAMES

NUMBERS = {
    "search": ("campaign", "device", "city", "results"),
    "click": ("parent", "position", "destination"),
    "conversion": ("parent", "city", "value", "cause"),
}
"""The columns of the simulation's rows that the key needs, besides `key` and `known`."""
CHANNELS = {
    "cpc": "paid_search",
    "paid_social": "paid_social",
    "email": "email",
    "organic": "organic",
    "referral": "affiliate",
    "affiliate": "affiliate",
}
"""Our own campaigns' channels by medium, declared again here: the models' rule is checked against them."""
NO_ONE = "none"
"""The cause of a booking that no visit's campaign caused."""
JOURNEY_DAYS = 30
VISIT_DAYS = 3
"""The longest visit, in days."""
_CHUNK_DAYS = 31


def numbers(event_type: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of simulated rows that `lines` turns into words."""
    # Not known of rows that were made without one: null, and verify says nothing of causes.
    if "cause" in NUMBERS[event_type] and "cause" not in rows.columns:
        rows = rows.with_columns(pl.lit(None, dtype=pl.Int64).alias("cause"))
    return rows.select(pl.col("key").alias("number"), "known", *NUMBERS[event_type])


def lines(event_type: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each line of a batch: its fate, its true session and visitor, and what its event says."""
    names = _names()
    words: list[pl.Expr] = [
        pl.col("event_id"),
        pl.lit(event_type, dtype=names["type"].dtype).alias("event_type"),
        pl.col("timestamp", "arrived_at", "session_id", "visitor_id"),
        _word("fate", frame["fate"]),
        _word("reason", frame["fate"]),
        pl.col("number"),
        pl.col("known").alias("identified"),
    ]
    absent = {name: pl.lit(None, dtype=dtype).alias(name) for name, dtype in _of_one_type().items()}
    own = {expression.meta.output_name(): expression for expression in _own(event_type, frame)}
    return frame.select(*words, *(own.get(name, absent[name]) for name in absent))


def _own(event_type: str, frame: pl.DataFrame) -> list[pl.Expr]:
    """Return the columns that only one type of event has."""
    if event_type == "search":
        by_campaign = [
            _word(name, frame["campaign"]) for name in ("channel", "utm_source", "utm_medium", "utm_campaign")
        ]
        by_device = [_word(name, frame["device"]) for name in ("platform", "device_type")]
        return [*by_campaign, *by_device, _word("country", frame["city"]), pl.col("results").cast(pl.Int32)]
    if event_type == "click":
        return [pl.col("parent"), pl.col("position").cast(pl.Int32), _word("destination", frame["destination"])]
    cause = frame["cause"].replace(-1, len(CAMPAIGNS))
    return [pl.col("parent"), pl.col("value").alias("cents"), _word("currency", frame["city"]), _word("cause", cause)]


def _word(name: str, codes: pl.Series) -> pl.Expr:
    return pl.lit(_names()[name].gather(codes)).alias(name)


@lru_cache(maxsize=1)
def _names() -> dict[str, pl.Series]:
    """Return words by number. Enums: a column of them is a dictionary and small numbers, in memory and in Parquet."""
    fates = range(faults.FIRST_MALFORMED + len(faults.MALFORMED))
    channels = [CHANNELS.get(one.medium, "other") if one.medium else "direct" for one in CAMPAIGNS]
    words: dict[str, Sequence[str | None]] = {
        "type": NAMES,
        "fate": [faults.fate_name(code) for code in fates],
        "reason": [faults.reason_code(code) for code in fates],
        "channel": channels,
        "cause": [*channels, NO_ONE],
        "utm_source": [one.source for one in CAMPAIGNS],
        "utm_medium": [one.medium for one in CAMPAIGNS],
        "utm_campaign": [one.campaign for one in CAMPAIGNS],
        "platform": [platform for platform, _ in DEVICES],
        "device_type": [kind for _, kind in DEVICES],
        "country": [COUNTRIES[country].code for country in CITY_COUNTRY],
        "currency": [COUNTRIES[country].currency for country in CITY_COUNTRY],
        "destination": [place.name for place in DESTINATIONS],
    }
    return {name: _enumerated(values) for name, values in words.items()}


def _enumerated(values: Sequence[str | None]) -> pl.Series:
    return pl.Series(values, dtype=pl.Enum(sorted({value for value in values if value is not None})))


@lru_cache(maxsize=1)
def _of_one_type() -> dict[str, pl.DataType]:
    words = ("channel", "utm_source", "utm_medium", "utm_campaign", "platform", "device_type", "country")
    return {
        **{name: _names()[name].dtype for name in words},
        "results": pl.Int32(),
        "parent": pl.UInt64(),
        "position": pl.Int32(),
        "destination": _names()["destination"].dtype,
        "cents": pl.Int64(),
        "currency": _names()["currency"].dtype,
        "cause": _names()["cause"].dtype,
    }


def visits(stored: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each visit that left stored events among `stored`: who, when it began, what brought it."""
    return (
        stored.filter(pl.col("event_type") != "click")
        .group_by("session_id", "visitor_id")
        .agg(pl.col("timestamp").min().alias("visited_at"), pl.col("channel").drop_nulls().first())
        # As text: those of all runs are read as one, and a later version of the simulator may know other words.
        .with_columns(pl.col("channel").cast(pl.String))
        .sort(
            "visited_at", "session_id", "visitor_id"
        )  # groups come in any order, and a run's files are always the same
    )


def bookings(stored: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each booking among `stored`: who, when, for how much, and the channel that truly caused it."""
    return stored.filter(pl.col("event_type") == "conversion").select(
        pl.col("event_id").alias("conversion_event_id"),
        "visitor_id",
        pl.col("timestamp").alias("converted_at"),
        pl.col("session_id").alias("booked_in"),
        "cents",
        pl.col("currency", "cause").cast(pl.String),
    )


def counts(stored: pl.DataFrame) -> pl.DataFrame:
    """Return what happened on each day (UTC) among `stored`, one row per day. Money is in whole cents, a column per
    currency."""
    kind, human = pl.col("event_type"), ~pl.col("visitor_id").str.starts_with("bot")
    currencies = sorted({country.currency for country in COUNTRIES})
    revenue = [pl.col("cents").filter(pl.col("currency") == code).sum().alias(f"cents_{code}") for code in currencies]
    return stored.group_by(pl.col("timestamp").dt.date().alias("day")).agg(
        (human & (kind == "search")).sum().alias("searches"),
        (~human & (kind == "search")).sum().alias("bot_searches"),
        (human & (pl.col("results") == 0)).sum().alias("zero_result_searches"),
        (kind == "click").sum().alias("clicks"),
        (kind == "conversion").sum().alias("conversions"),
        *revenue,
    )


def kpis(partial: Sequence[pl.DataFrame], visit_parts: Sequence[Path]) -> pl.DataFrame:
    """Add up the `counts` of all parts, with the visits of people that began on each day, and how many people made
    them."""
    total = pl.concat(partial).group_by("day").agg(pl.all().sum()).sort("day")
    began = [
        _visits_between(visit_parts, first - timedelta(days=VISIT_DAYS), stop)
        .filter(~pl.col("visitor_id").str.starts_with("bot"), pl.col("visited_at") >= first)
        .group_by(pl.col("visited_at").dt.date().alias("day"))
        .agg(pl.len().alias("visits"), pl.col("visitor_id").n_unique().alias("visitors"))
        .collect(engine="streaming")
        for first, stop in _weeks(total["day"].cast(pl.Datetime("ms", "UTC")))
    ]
    days = total.join(pl.concat(began), on="day", how="left", maintain_order="left")
    return days.with_columns(pl.col("visits", "visitors").fill_null(0))


def journeys(booking_parts: Sequence[Path], visit_parts: Sequence[Path]) -> Iterator[pl.DataFrame]:
    """Yield one row for each booking and visit of its traveller in the 30 days before it, logged in or not."""
    booked = pl.scan_parquet(list(booking_parts))
    for first, stop in _weeks(booked.select("converted_at").collect()["converted_at"]):
        some = booked.filter(pl.col("converted_at").is_between(first, stop, closed="left")).collect()
        if len(some):
            yield _with_visits(some, visit_parts, first - timedelta(days=JOURNEY_DAYS), stop)


def _weeks(moments: pl.Series) -> Iterator[tuple[datetime, datetime]]:
    """Yield all of the time between `moments`, some weeks at once, so that memory does not grow with the history."""
    first, last = moments.min(), moments.max()
    while isinstance(first, datetime) and isinstance(last, datetime) and first <= last:
        yield first, first + timedelta(days=_CHUNK_DAYS)
        first += timedelta(days=_CHUNK_DAYS)


def _visits_between(parts: Sequence[Path], first: datetime, stop: datetime) -> pl.LazyFrame:
    """Return one row for each visit; a visit whose events lie in two parts is in both."""
    return (
        pl.scan_parquet(list(parts))
        .filter(pl.col("visited_at").is_between(first, stop, closed="left"))
        .group_by("session_id", "visitor_id")
        .agg(pl.col("visited_at").min(), pl.col("channel").drop_nulls().first())
    )


def _with_visits(booked: pl.DataFrame, parts: Sequence[Path], first: datetime, stop: datetime) -> pl.DataFrame:
    travellers = booked.lazy().select("visitor_id").unique()
    before = _visits_between(parts, first, stop).join(travellers, on="visitor_id", how="semi")
    return (
        booked.join(before.collect(engine="streaming"), on="visitor_id")
        .filter(
            pl.col("visited_at") <= pl.col("converted_at"),
            pl.col("visited_at") > pl.col("converted_at") - timedelta(days=JOURNEY_DAYS),
        )
        .sort("converted_at", "conversion_event_id", "visited_at", "session_id")
        .with_columns(pl.int_range(1, pl.len() + 1).over("conversion_event_id").alias("position"))
    )
