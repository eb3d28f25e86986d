"""Users, their segment at a moment, its history, and the transitions of a month."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import polars as pl

SECOND = timedelta(seconds=1)
NEW, RISK, ABANDONED = timedelta(days=7), timedelta(days=30), timedelta(hours=48)
HIGH_VALUE_CENTS, HIGH_VALUE_BOOKINGS = 500_00, 5


class Deeds(NamedTuple):
    """What a user did, each with its time."""

    seen: list[datetime]
    searched: list[datetime]
    booked: list[tuple[datetime, int]]


def deeds(visits: pl.DataFrame, searches: pl.DataFrame, bookings: pl.DataFrame) -> dict[str, Deeds]:
    """By user. A visit is seen from its start to its end; `bookings` has visitor_id, ts and value."""
    found: dict[str, Deeds] = {}

    def of(user: str) -> Deeds:
        return found.setdefault(user, Deeds([], [], []))

    for row in visits.filter(pl.col("user_id").is_not_null()).to_dicts():
        of(row["user_id"]).seen.extend([row["session_start"], row["session_end"]])
    for row in searches.filter(pl.col("user_id").is_not_null()).to_dicts():
        of(row["user_id"]).seen.append(row["searched_at"])
        of(row["user_id"]).searched.append(row["searched_at"])
    for row in bookings.to_dicts():
        if row["visitor_id"] in found:
            of(row["visitor_id"]).booked.append((row["ts"], row["value"] or 0))
    return found


def users(everyone: dict[str, Deeds]) -> list[dict[str, Any]]:
    """One row a user who was seen, as of now."""
    return [
        {
            "user_id": user,
            "first_seen_at": min(did.seen),
            "last_seen_at": max(did.seen),
            "last_searched_at": max(did.searched, default=None),
            "first_converted_at": min((when for when, _ in did.booked), default=None),
            "last_converted_at": max((when for when, _ in did.booked), default=None),
            "searches": len(did.searched),
            "conversions": len(did.booked),
            "lifetime_revenue": sum(value for _, value in did.booked),
        }
        for user, did in everyone.items()
    ]


def rfm(everyone: dict[str, Deeds]) -> dict[str, dict[str, Any]]:
    """Quintiles of every customer by newest booking, number of bookings and value; of all others None."""
    measures: dict[str, dict[str, Any]] = {
        "rfm_recency": {user: max(when for when, _ in did.booked) for user, did in everyone.items() if did.booked},
        "rfm_frequency": {user: len(did.booked) for user, did in everyone.items() if did.booked},
        "rfm_monetary": {user: sum(value for _, value in did.booked) for user, did in everyone.items() if did.booked},
    }
    return {
        user: {
            name: 1 + 5 * sum(other < of[user] for other in of.values()) // len(of) if user in of else None
            for name, of in measures.items()
        }
        for user in everyone
    }


def segment(did: Deeds, moment: datetime) -> str:
    """The first rule that holds, with what was known at the moment, that moment included."""
    seen = [when for when in [*did.seen, *(when for when, _ in did.booked)] if when <= moment]
    searched = [when for when in did.searched if when <= moment]
    booked = [(when, value) for when, value in did.booked if when <= moment]
    if sum(value for _, value in booked) > HIGH_VALUE_CENTS or len(booked) >= HIGH_VALUE_BOOKINGS:
        return "high_value"
    if moment - min(seen) <= NEW:
        return "new_user"
    if booked and moment - max(seen) > RISK:
        return "at_risk"
    since = searched and (not booked or max(searched) > max(when for when, _ in booked))
    if since and moment - max(searched) <= ABANDONED:
        return "abandoned_search"
    return "regular"


def history(did: Deeds, now: datetime) -> list[tuple[str, datetime, datetime | None]]:
    """(segment, from, until) of a user. Asks the rule at every moment at which it could answer otherwise."""
    happened = {*did.seen, *did.searched, *(when for when, _ in did.booked)}
    passed = {when + limit + SECOND for when in happened for limit in (NEW, RISK, ABANDONED)}
    periods: list[tuple[str, datetime]] = []
    for moment in sorted(happened | {when for when in passed if when <= now}):
        answer = segment(did, moment)
        if not periods or periods[-1][0] != answer:
            periods.append((answer, moment))
    ends = [*(moment for _, moment in periods[1:]), None]
    return [(answer, start, end) for (answer, start), end in zip(periods, ends, strict=True)]


def transitions(histories: dict[str, list[tuple[str, datetime, datetime | None]]]) -> list[dict[str, Any]]:
    """One row a month, segment left and segment entered."""
    moves: Counter[tuple[Any, ...]] = Counter()
    movers: dict[tuple[Any, ...], set[str]] = {}
    for user, periods in histories.items():
        for (left, _, _), (entered, when, _) in pairwise(periods):
            key = (when.date().replace(day=1), left, entered)
            moves[key] += 1
            movers.setdefault(key, set()).add(user)
    return [
        {
            "month": month,
            "from_segment": left,
            "to_segment": entered,
            "users": len(movers[month, left, entered]),
            "transitions": n,
        }
        for (month, left, entered), n in moves.items()
    ]
