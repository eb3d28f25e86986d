"""The words and numbers of the domain: segments, channels, attribution models and the like with their labels, the variables of
`config.yaml`, and exchange rates.

This module is the source of the names for everything but SQL. The models decide which row gets which name. SQLMesh loads
`macros/` on its own, so `macros/domain.py` (channels) and `macros/segments.py` repeat the names, and
`tests/models_truth/test_domain.py` checks that both agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import yaml

from searchflow.fetching import first_row
from searchflow.settings import ROOT

if TYPE_CHECKING:
    import polars as pl

SEGMENTS = {
    "high_value": "High value",
    "new_user": "New",
    "at_risk": "At risk",
    "abandoned_search": "Abandoned search",
    "regular": "Regular",
}
"""The segments of users: name -> label, in order of precedence. A user's segment is the first whose rule holds."""
CHANNELS = {
    "direct": "Direct",
    "paid_search": "Paid search",
    "paid_social": "Paid social",
    "email": "Email",
    "organic": "Organic",
    "affiliate": "Affiliate",
    "other": "Other",
}
"""The channels that bring visits: name -> label."""
ATTRIBUTION_MODELS = {
    "first_touch": "First touch",
    "last_touch": "Last touch",
    "last_non_direct": "Last non-direct",
    "linear": "Linear",
    "position_based": "Position-based",
    "time_decay": "Time decay",
    "markov": "Markov",
}
"""The ways to credit a booking to visits: name -> label."""
PRODUCT_TYPES = {"flight": "Flight", "hotel": "Hotel", "car": "Car", "package": "Package"}
"""The products that a result offers: name -> label. An event may say another one; it is kept and reported."""
PLATFORMS = {"web": "Web", "ios": "iOS", "android": "Android"}
"""The platforms on which a search is made: name -> label. An event may say another one; it is kept and reported."""
DEVICE_TYPES = {"desktop": "Desktop", "mobile": "Mobile", "tablet": "Tablet"}
"""The devices with which a search is made: name -> label. An event may say another one; it is kept and reported."""
LABELS = SEGMENTS | CHANNELS | ATTRIBUTION_MODELS | PRODUCT_TYPES | PLATFORMS | DEVICE_TYPES

RATE_UNIT = 100_000_000
"""The factor that makes a rate of eight decimals a whole number; whole numbers keep money exact."""


@dataclass(frozen=True)
class Rules:
    """The numbers that the models read as variables, and the exchange rates."""

    session_gap: timedelta
    bot_session_searches: int
    bot_searches_per_minute: int
    bot_min_searches: int
    funnel_window: timedelta
    attribution_window: timedelta
    high_value_cents: int
    high_value_conversions: int
    new_user: timedelta
    at_risk: timedelta
    abandoned: timedelta
    abandoned_after: timedelta
    recommendations_per_user: int
    half_life_days: float
    recommendation_window: timedelta
    recommendation_neighbours: int
    rates: pl.DataFrame  # currency, valid_from, valid_to, rate (of the reporting currency, times RATE_UNIT)


def load(
    root: Path = ROOT,
    *,
    promoted: Mapping[str, Any] | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> Rules:
    """Read the numbers and the rates.

    They are those of production when the caller gives the variables that it was `promoted` with and a `connection` to the
    lake. Without these, or before the first promotion (None), they come from the files in `root`.
    """
    said = yaml.safe_load(_without_templates(root / "config.yaml"))["variables"] if promoted is None else promoted
    rates = _rates_of(connection) if connection is not None and promoted is not None else None
    return Rules(
        session_gap=timedelta(minutes=said["session_gap_minutes"]),
        bot_session_searches=said["bot_session_searches"],
        bot_searches_per_minute=said["bot_searches_per_minute"],
        bot_min_searches=said["bot_min_searches"],
        funnel_window=timedelta(days=said["funnel_window_days"]),
        attribution_window=timedelta(days=said["attribution_window_days"]),
        high_value_cents=round(said["high_value_revenue"] * 100),
        high_value_conversions=said["high_value_conversions"],
        new_user=timedelta(days=said["new_user_days"]),
        at_risk=timedelta(days=said["at_risk_days"]),
        abandoned=timedelta(hours=said["abandoned_hours"]),
        # Models that were promoted before this variable was declared used one hour.
        abandoned_after=timedelta(hours=said.get("abandoned_after_hours", 1)),
        recommendations_per_user=said["recommendations_per_user"],
        half_life_days=said["recommendation_half_life_days"],
        recommendation_window=timedelta(days=said["recommendation_window_days"]),
        recommendation_neighbours=said["recommendation_neighbours"],
        rates=_rates(_rates_in(root) if rates is None else rates, said["reporting_currency"]),
    )


def _without_templates(path: Path) -> str:
    """Return only the variables of the file: the connections above them hold templates that are not YAML."""
    text = path.read_text(encoding="utf-8")
    return text[text.index("\nvariables:") :]


def _rates_in(root: Path) -> pl.DataFrame:
    import polars as pl

    return pl.read_csv(root / "seeds" / "fx_rates.csv", try_parse_dates=True)


def _rates_of(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame | None:
    """Return the rates of production; None when its models have none."""
    there = first_row(
        connection.execute(
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'seeds' AND table_name = 'fx_rates'"
        )
    )
    if not there or not there[0]:
        return None
    columns = "currency, valid_from::DATE AS valid_from, valid_to::DATE AS valid_to, rate_to_cad::DOUBLE AS rate_to_cad"
    return connection.execute(f"SELECT {columns} FROM seeds.fx_rates").pl()


def _rates(rates: pl.DataFrame, reporting: str) -> pl.DataFrame:
    import polars as pl

    base = rates.filter(pl.col("currency") == reporting).select("valid_from", pl.col("rate_to_cad").alias("base"))
    rate = (pl.col("rate_to_cad") / pl.col("base") * RATE_UNIT).round().cast(pl.Int64)
    return rates.join(base, on="valid_from").select("currency", "valid_from", "valid_to", rate.alias("rate"))


def in_reporting_currency(bookings: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Return `bookings` (timestamp, cents, currency) with a column `value`: whole cents of the reporting currency.

    Half a cent is rounded up. Without a rate the value is 0, as in the models.
    """
    import polars as pl

    made = bookings.with_columns(pl.col("timestamp").dt.date().alias("_day"))
    pairs = made.select("currency", "_day").unique().join(rules.rates, on="currency")
    pairs = pairs.filter(pl.col("_day").is_between("valid_from", "valid_to")).select("currency", "_day", "rate")
    value = (pl.col("cents") * pl.col("rate") + RATE_UNIT // 2) // RATE_UNIT
    return (
        made.join(pairs, on=["currency", "_day"], how="left")
        .with_columns(value.fill_null(0).alias("value"))
        .drop("_day", "rate")
    )
