"""Identity, sessions and touchpoints, one client's session after the other."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any

import polars as pl

from tests.reference.events import channel, made

GAP, CUT = timedelta(minutes=30), timedelta(hours=24)
BOT_SEARCHES, BOT_LEAST, BOT_RATE = 100, 20, 20
UTM = ("utm_source", "utm_medium", "utm_campaign")


def identity(events: pl.DataFrame) -> pl.DataFrame:
    """One row a session_id: the first user to log in owns it."""
    logins = (
        events.filter(pl.col("user_id").is_not_null())
        .group_by("session_id", "user_id")
        .agg(pl.col("ts").min().alias("identified_at"))
        .sort("identified_at", "user_id")
        .unique("session_id", keep="first")
    )
    return (
        events.group_by("session_id")
        .agg(pl.col("ts").min().alias("first_seen_at"), pl.col("ts").max().dt.date().alias("last_seen_date"))
        .join(logins, on="session_id", how="left")
        .with_columns(visitor_id=pl.coalesce("user_id", pl.format("anon:{}", "session_id")))
        .select("session_id", "visitor_id", "user_id", "first_seen_at", "identified_at", "last_seen_date")
    )


def sessions(events: pl.DataFrame, owners: pl.DataFrame) -> pl.DataFrame:
    """One row a visit."""
    owner = {row["session_id"]: row for row in owners.to_dicts()}
    rows = [
        _session(visit, owner[str(session_id)])
        for (session_id,), group in events.group_by("session_id")
        for visit in _visits(group.sort("ts", "event_id").to_dicts())
    ]
    in_order = made(rows).sort("session_start", "session_id")
    number = pl.int_range(1, pl.len() + 1).over("visitor_id", "session_date", "is_bot")
    return in_order.with_columns(number.alias("visit_of_day"))


def _visits(events: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Cut where it was silent for more than 30 minutes, and at a midnight before which it was not for a day."""
    visits: list[list[dict[str, Any]]] = []
    previous = awake_since = events[0]["ts"]
    for event in events:
        midnight = datetime.combine(event["ts"].date(), time())
        if not visits or event["ts"] - previous > GAP:
            awake_since = event["ts"]
            visits.append([])
        elif previous < midnight and midnight - awake_since >= CUT:
            visits.append([])
        visits[-1].append(event)
        previous = event["ts"]
    return visits


def _session(events: list[dict[str, Any]], owner: dict[str, Any]) -> dict[str, Any]:
    kinds = [event["event_type"] for event in events]
    landing: dict[str, Any] = next((event for event in events if event["event_type"] == "search"), {})
    user = next((event["user_id"] for event in events if event["user_id"]), None)
    start, end = events[0]["ts"], events[-1]["ts"]
    searches = kinds.count("search")
    seconds = int((end.replace(microsecond=0) - start.replace(microsecond=0)).total_seconds())
    return {
        "session_key": f"{events[0]['session_id']}:{start:%Y%m%dT%H%M%S}",
        "session_id": events[0]["session_id"],
        "visitor_id": user or owner["visitor_id"],
        "user_id": user or owner["user_id"],
        "session_start": start,
        "session_end": end,
        "session_date": start.date(),
        "searches": searches,
        "clicks": kinds.count("click"),
        "conversions": kinds.count("conversion"),
        "revenue": sum(event["value"] or 0 for event in events),
        **{name: landing.get(name) for name in ("platform", "device_type", "country", *UTM)},
        "channel": channel(*(landing.get(name) for name in UTM)),
        "landing_query": landing.get("query"),
        "is_bot": searches >= BOT_SEARCHES or (searches >= BOT_LEAST and searches * 60 > BOT_RATE * seconds),
        "is_bounce": len(events) == 1,
    }


def touchpoints(visits: pl.DataFrame) -> pl.DataFrame:
    """One row a visit: what brought the visitor."""
    return visits.select(
        pl.col("session_key").alias("touchpoint_id"),
        "visitor_id",
        "session_key",
        pl.col("session_start").alias("touched_at"),
        *UTM,
        "channel",
    )


def inside(events: pl.DataFrame, visits: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """`events` beside the columns of the visit in which each happened, with the prefix `visit_`."""
    renamed = visits.select("session_id", "session_start", "session_end", *columns).rename(
        {name: f"visit_{name}" for name in columns}
    )
    joined = events.join(renamed, on="session_id").filter(pl.col("ts").is_between("session_start", "session_end"))
    return joined.drop("session_start", "session_end")
