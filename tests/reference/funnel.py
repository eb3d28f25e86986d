"""The funnel, by search and by day, and the daily figures of the business."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl

from tests.reference.events import channel, made
from tests.reference.visits import UTM, inside

WINDOW, SKEW = timedelta(days=30), timedelta(days=1)
LONGEST_LEAD_TIME = 1095
PEOPLE = pl.col("is_bot").not_()
DIMENSIONS = ("search_date", "platform", "device_type", "country", "channel")


def funnel(events: pl.DataFrame, visits: pl.DataFrame) -> pl.DataFrame:
    """One row a search: what came of it."""
    searches = events.filter(pl.col("event_type") == "search")
    placed = inside(searches, visits, "session_key", "visitor_id", "user_id", "is_bot", *UTM)
    clicks = _within(events.filter(pl.col("event_type") == "click"), "search_event_id", searches)
    booked = _booked(events.filter(pl.col("event_type") == "conversion"), clicks, searches)
    clicked = (
        clicks.sort("ts", "event_id")
        .group_by("search_event_id", maintain_order=True)
        .agg(
            clicks=pl.len(),
            first_click_position=pl.col("result_position").first(),
            destination=pl.col("result_destination").first(),
            first_click_at=pl.col("ts").min(),
        )
    )
    rows = (
        placed.drop("search_event_id")
        .join(clicked, left_on="event_id", right_on="search_event_id", how="left")
        .join(booked, left_on="event_id", right_on="search_event_id", how="left")
    )
    return made([_outcome(row) for row in rows.to_dicts()])


def _within(events: pl.DataFrame, reference: str, searches: pl.DataFrame) -> pl.DataFrame:
    """Events that name a search and lie in its window: from a day before (clocks differ) to 30 days after."""
    of_search = searches.select(pl.col("event_id").alias(reference), pl.col("ts").alias("searched_at"))
    later = pl.col("ts") - pl.col("searched_at")
    return events.join(of_search, on=reference).filter((later >= -SKEW) & (later < WINDOW))


def _booked(conversions: pl.DataFrame, clicks: pl.DataFrame, searches: pl.DataFrame) -> pl.DataFrame:
    through = clicks.select(pl.col("event_id").alias("click_event_id"), pl.col("search_event_id").alias("of_search"))
    linked = (
        conversions.drop("search_event_id").join(through, on="click_event_id").rename({"of_search": "search_event_id"})
    )
    linked = _within(linked, "search_event_id", searches)
    return linked.group_by("search_event_id").agg(
        conversions=pl.len(), revenue=pl.col("value").sum(), first_conversion_at=pl.col("ts").min()
    )


def _outcome(row: dict[str, Any]) -> dict[str, Any]:
    own = any(row[name] is not None for name in UTM)
    utm = {name: row[name] if own else row[f"visit_{name}"] for name in UTM}
    return {
        "search_event_id": row["event_id"],
        "searched_at": row["ts"],
        "search_date": row["ts"].date(),
        "session_id": row["session_id"],
        "session_key": row["visit_session_key"],
        "visitor_id": row["user_id"] or row["visit_visitor_id"],
        "user_id": row["user_id"] or row["visit_user_id"],
        **{name: row[name] for name in ("query", "platform", "device_type", "country", "results_count", "destination")},
        "channel": channel(*utm.values()),
        **utm,
        "has_results": None if row["results_count"] is None else row["results_count"] > 0,
        "clicks": row["clicks"] or 0,
        "first_click_position": row["first_click_position"],
        "first_click_at": row["first_click_at"],
        "conversions": row["conversions"] or 0,
        "revenue": row["revenue"] or 0,
        "is_bot": row["visit_is_bot"],
        "page": row["page"],
        "lead_time_days": _lead_time(row["ts"].date(), row["check_in"]),
        "first_conversion_at": row["first_conversion_at"],
    }


def _lead_time(day: date, check_in: date | None) -> int | None:
    return (check_in - day).days if check_in and check_in >= day else None


def funnel_daily(searches: pl.DataFrame) -> pl.DataFrame:
    """One row a day, platform, device, country and channel; people only."""
    return (
        searches.filter(PEOPLE)
        .group_by(*DIMENSIONS)
        .agg(
            searches=pl.len(),
            searches_with_results=(pl.col("results_count") > 0).sum(),
            searches_with_click=(pl.col("clicks") > 0).sum(),
            clicks=pl.col("clicks").sum(),
            searches_with_conversion=(pl.col("conversions") > 0).sum(),
            conversions=pl.col("conversions").sum(),
            revenue=pl.col("revenue").sum(),
            zero_result_searches=(pl.col("results_count") == 0).sum(),
            searches_with_dates=(pl.col("lead_time_days") <= LONGEST_LEAD_TIME).sum(),
            lead_time_days=pl.col("lead_time_days").filter(pl.col("lead_time_days") <= LONGEST_LEAD_TIME).sum(),
            searches_with_far_dates=(pl.col("lead_time_days") > LONGEST_LEAD_TIME).sum(),
        )
    )


def kpis(events: pl.DataFrame, visits: pl.DataFrame, searches: pl.DataFrame) -> list[dict[str, Any]]:
    """One row a day on which anything happened, with what it is compared with."""
    bookings = events.filter(pl.col("event_type") == "conversion").with_columns(day=pl.col("ts").dt.date())
    people = searches.filter(PEOPLE)
    days = {*people["search_date"], *visits["session_date"], *bookings["day"]}
    rows = {
        day: _day(
            people.filter(pl.col("search_date") == day),
            visits.filter(pl.col("session_date") == day),
            bookings.filter(pl.col("day") == day),
        )
        for day in days
    }
    return [{"kpi_date": day, **row, **_compared(rows, day)} for day, row in rows.items()]


def _day(searches: pl.DataFrame, visits: pl.DataFrame, bookings: pl.DataFrame) -> dict[str, Any]:
    of_people = visits.filter(PEOPLE)
    near = searches["lead_time_days"].filter(searches["lead_time_days"] <= LONGEST_LEAD_TIME)
    total, booked = searches.height, int(bookings["value"].sum())

    def per(count: float, whole: int) -> float | None:
        return count / whole if whole else None

    return {
        "searches": total,
        "sessions": of_people.height,
        "visitors": of_people["visitor_id"].n_unique() if of_people.height else 0,
        "clicks": int(searches["clicks"].sum()),
        "conversions": bookings.height,
        "revenue": booked,
        "click_through_rate": per((searches["clicks"] > 0).sum(), total),
        "conversion_rate": per((searches["conversions"] > 0).sum(), total),
        "zero_result_rate": per((searches["results_count"] == 0).sum(), total),
        "revenue_per_search": per(int(searches["revenue"].sum()) / 100, total),
        "avg_booking_value": per(booked / 100, bookings.height),
        "look_to_book": per(total, int(searches["conversions"].sum())),
        "avg_lead_time_days": per(int(near.sum()), near.count()),
        "searches_with_far_dates": int((searches["lead_time_days"] > LONGEST_LEAD_TIME).sum()),
        "bot_searches": int(visits.filter(pl.col("is_bot"))["searches"].sum()),
    }


def _compared(rows: dict[date, dict[str, Any]], day: date) -> dict[str, Any]:
    earlier = {
        "day": day - timedelta(days=1),
        "week": day - timedelta(days=7),
        "month": pl.Series([day]).dt.offset_by("-1mo")[0],
        "year": pl.Series([day]).dt.offset_by("-1y")[0],
    }
    return {
        f"{name}_prev_{period}": rows[then][name] if then in rows else None
        for period, then in earlier.items()
        for name in ("searches", "conversions", "revenue")
    }
