"""The events of a history as Polars frames, straight from their JSON.

This package is a second, independent computation of the models: plain Polars and Python, written from the contract and
the definitions in docs/reference, sharing no code with `models/`, `macros/` or `config.yaml`. It reads whole histories
and does not care how long that takes.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

ROOT = Path(__file__).resolve().parents[2]
CENT, RATE = Decimal("0.01"), Decimal("0.00000001")

FIELDS: dict[str, Any] = {
    "event_id": pl.String,
    "event_type": pl.String,
    "ts": pl.Datetime("us"),
    "session_id": pl.String,
    "user_id": pl.String,
    "query": pl.String,
    "results_count": pl.Int64,
    "page": pl.Int64,
    "check_in": pl.Date,
    "platform": pl.String,
    "device_type": pl.String,
    "country": pl.String,
    "utm_source": pl.String,
    "utm_medium": pl.String,
    "utm_campaign": pl.String,
    "search_event_id": pl.String,
    "result_position": pl.Int64,
    "result_destination": pl.String,
    "click_event_id": pl.String,
    "value": pl.Int64,
}
"""The columns of `frame`; `value` is in cents of the reporting currency, null without a rate."""


def frame(documents: Iterable[str]) -> pl.DataFrame:
    """One row an event: the first copy of each id and type counts."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for document in documents:
        event = _typed(json.loads(document))
        found.setdefault((event["event_type"], event["event_id"]), event)
    return pl.DataFrame(list(found.values()), schema=FIELDS, orient="row").sort("ts", "event_id")


NULLABLE: dict[str, Any] = {
    **{name: FIELDS[name] for name in ("user_id", "query", "platform", "device_type", "country", "results_count")},
    **{name: FIELDS[name] for name in ("utm_source", "utm_medium", "utm_campaign")},
    "landing_query": pl.String,
    "destination": pl.String,
    "has_results": pl.Boolean,
    "first_click_position": pl.Int64,
    "first_click_at": pl.Datetime("us"),
    "lead_time_days": pl.Int64,
    "first_conversion_at": pl.Datetime("us"),
}


def made(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """A frame of computed rows; columns that may hold nothing but nulls have their type all the same."""
    types = {name: kind for name, kind in NULLABLE.items() if rows and name in rows[0]}
    return pl.DataFrame(rows, schema_overrides=types, infer_schema_length=None)


def utc(text: str) -> datetime:
    """An ISO 8601 time with an offset, as UTC without a zone."""
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def channel(source: str | None, medium: str | None, campaign: str | None) -> str:
    """The marketing channel of a visit."""
    if source is None and medium is None and campaign is None:
        return "direct"
    names = {
        "cpc": "paid_search",
        "ppc": "paid_search",
        "paid": "paid_search",
        "paid_social": "paid_social",
        "email": "email",
        "organic": "organic",
        "referral": "affiliate",
        "affiliate": "affiliate",
    }
    return names.get((medium or "").lower(), "other")


def _typed(event: dict[str, Any]) -> dict[str, Any]:
    row = {name: event.get(name) for name in FIELDS}
    row["ts"] = utc(event["timestamp"])
    row["country"] = (event.get("geo") or {}).get("country")
    row["page"] = event.get("page") or 1
    dates = (event.get("filters") or {}).get("dates") or [None]
    row["check_in"] = date.fromisoformat(dates[0]) if dates[0] else None
    for name in ("event_id", "search_event_id", "click_event_id"):
        row[name] = row[name].lower() if row[name] else None
    if event["event_type"] == "conversion":
        row["value"] = cents(event["booking_value"], event.get("currency") or "CAD", row["ts"].date())
    return row


def cents(amount: float, currency: str, day: date) -> int | None:
    """An amount in cents of the reporting currency (CAD), half a cent rounded up; None for an unknown currency."""
    rate = next(
        (rate for code, first, last, rate in _rates() if code == currency.upper() and first <= day <= last), None
    )
    if rate is None:
        return None
    exact = Decimal(repr(amount)).quantize(Decimal("0.0001"), ROUND_HALF_UP) * rate
    return int(exact.quantize(CENT, ROUND_HALF_UP) * 100)


@cache
def _rates() -> tuple[tuple[str, date, date, Decimal], ...]:
    with (ROOT / "seeds" / "fx_rates.csv").open() as file:
        return tuple(
            (
                row["currency"],
                date.fromisoformat(row["valid_from"]),
                date.fromisoformat(row["valid_to"]),
                Decimal(row["rate_to_cad"]).quantize(RATE),
            )
            for row in csv.DictReader(file)
        )
