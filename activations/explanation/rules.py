"""The rules that put a user where they are, in words, with the user's own numbers and the limits of `config.yaml`.

The models decide; here their rules are told again, in the order in which they are tried. A test compares the two on every
user of a simulated company.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from searchflow.domain import Rules

REGULAR = "regular"


@dataclass(frozen=True)
class Step:
    """One rule that was tried."""

    rule: str
    holds: bool
    why: str


def segment(user: dict[str, Any], as_of: datetime, limits: Rules) -> list[Step]:
    """Return the rules of segments (`macros/segments.py`) in their order, up to the first that holds. `user` is of
    dim_users."""
    tried = []
    for step in (
        _high_value(user, limits),
        _new_user(user, as_of, limits),
        _at_risk(user, as_of, limits),
        _abandoned(user, as_of, limits),
        Step(REGULAR, holds=True, why="no other rule holds"),
    ):
        tried.append(step)
        if step.holds:
            break
    return tried


def _high_value(user: dict[str, Any], limits: Rules) -> Step:
    revenue, bookings = user["lifetime_revenue"], user["conversions"]
    most, often = limits.high_value_cents / 100, limits.high_value_conversions
    rich, loyal = revenue * 100 > limits.high_value_cents, bookings >= often
    why = (
        f"booked {revenue:,.2f} in all, {'over' if rich else 'not over'} {most:,.2f}; "
        f"{_bookings(bookings)}, {'at least' if loyal else 'fewer than'} {often}"
    )
    return Step("high_value", rich or loyal, why)


def _new_user(user: dict[str, Any], as_of: datetime, limits: Rules) -> Step:
    holds = user["first_seen_at"] >= as_of - limits.new_user
    why = f"first seen {_moment(user['first_seen_at'])}, {_ago(as_of, limits.new_user, within=holds)}"
    return Step("new_user", holds, why)


def _at_risk(user: dict[str, Any], as_of: datetime, limits: Rules) -> Step:
    away = user["last_seen_at"] < as_of - limits.at_risk
    why = (
        f"{_bookings(user['conversions'])}; last seen {_moment(user['last_seen_at'])}, "
        f"{_ago(as_of, limits.at_risk, within=not away)}"
    )
    return Step("at_risk", user["conversions"] > 0 and away, why)


def _abandoned(user: dict[str, Any], as_of: datetime, limits: Rules) -> Step:
    searched, booked = user["last_searched_at"], user["last_converted_at"]
    if searched is None:
        return Step("abandoned_search", holds=False, why="never searched")
    recent = searched >= as_of - limits.abandoned
    left = booked is None or booked < searched
    since = f"no booking since (last: {_moment(booked)})" if left else f"booked after it, {_moment(booked)}"
    why = f"searched {_moment(searched)}, {_ago(as_of, limits.abandoned, within=recent)}; {since}"
    return Step("abandoned_search", recent and left, why)


def _bookings(count: int) -> str:
    return f"{count:,} booking{'' if count == 1 else 's'}"


def _moment(value: datetime | None) -> str:
    return "never" if value is None else f"{value:%Y-%m-%d %H:%M}"


def _ago(as_of: datetime, length: timedelta, *, within: bool) -> str:
    told = (
        f"{length.days} days"
        if length.total_seconds() % 86400 == 0 and length.days > 2
        else (f"{length.total_seconds() / 3600:.0f} hours")
    )
    return f"{'within' if within else 'more than'} {told} {'of' if within else 'before'} {_moment(as_of)}"
