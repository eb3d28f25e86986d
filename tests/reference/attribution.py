"""Journeys and the seven attribution models, in exact fractions where the model is one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any

import polars as pl

from tests.reference.events import channel
from tests.reference.visits import UTM, inside

WINDOW, LEARNING = timedelta(days=30), 90
START, BOOKING, NOTHING = "(start)", "(booking)", "(nothing)"
MODELS = ("first_touch", "last_touch", "last_non_direct", "linear", "position_based", "time_decay", "markov")
Touch = dict[str, Any]
Path = list[Touch]
Claims = Callable[[Path, datetime], list[Fraction]]


def bookings(events: pl.DataFrame, visits: pl.DataFrame) -> pl.DataFrame:
    """One row a booking, with the visitor of the visit in which it was made."""
    conversions = events.filter(pl.col("event_type") == "conversion")
    return inside(conversions, visits, "visitor_id").rename({"visit_visitor_id": "visitor_id"})


def journeys(booked: pl.DataFrame, touches: pl.DataFrame) -> dict[str, Path]:
    """The touchpoints of the 30 days before each booking, in their order."""
    by_visitor: dict[str, Path] = defaultdict(list)
    for touch in touches.sort("touched_at", "touchpoint_id").to_dicts():
        by_visitor[touch["visitor_id"]].append(touch)
    return {
        row["event_id"]: [
            touch for touch in by_visitor[row["visitor_id"]] if row["ts"] - WINDOW < touch["touched_at"] <= row["ts"]
        ]
        for row in booked.to_dicts()
    }


def removal_effects(sessions: pl.DataFrame, until: date) -> dict[date, dict[str, Fraction]]:
    """Day -> channel -> share of bookings lost when every visit through it ends in nothing.

    Learnt from the moves of the 90 days up to the day. A visitor's path goes on from visit to visit, ends with a visit in which
    something was booked, or when the visitor stays away for 30 days.
    """
    moves = _moves(sessions)
    days = sorted({day + timedelta(days=late) for day, _, _ in moves for late in range(LEARNING)})
    effects: dict[date, dict[str, Fraction]] = {}
    seen: dict[tuple[Any, ...], dict[str, Fraction]] = {}
    for day in (each for each in days if each <= until):
        counts = Counter((origin, to) for at, origin, to in moves if day - timedelta(days=LEARNING) < at <= day)
        key = tuple(sorted(counts.items()))
        if key not in seen:
            seen[key] = _effects(counts)
        effects[day] = seen[key]
    return effects


def _moves(sessions: pl.DataFrame) -> list[tuple[date, str, str]]:
    moves = []
    by_visitor: dict[str, Path] = defaultdict(list)
    for visit in sessions.sort("session_start", "session_key").to_dicts():
        by_visitor[visit["visitor_id"]].append(visit)
    for path in by_visitor.values():
        for place, visit in enumerate(path):
            day, channel_ = visit["session_start"].date(), visit["channel"]
            before, after = path[place - 1] if place else None, path[place + 1] if place + 1 < len(path) else None
            goes_on = before and not before["conversions"] and _apart(before, visit) < WINDOW
            moves.append((day, before["channel"] if before and goes_on else START, channel_))
            if visit["conversions"]:
                moves.append((day, channel_, BOOKING))
            elif after is None or _apart(visit, after) >= WINDOW:
                moves.append(((visit["session_start"] + WINDOW).date(), channel_, NOTHING))
    return moves


def _apart(one: Touch, other: Touch) -> timedelta:
    between: timedelta = other["session_start"] - one["session_start"]
    return between


def _effects(moves: Counter[tuple[str, str]]) -> dict[str, Fraction]:
    channels = sorted({target for _, target in moves} - {BOOKING, NOTHING})
    whole = _chance(moves, [START, *channels])
    if not whole:
        return dict.fromkeys(channels, Fraction(0))
    return {
        removed: 1 - _chance(moves, [START, *(each for each in channels if each != removed)]) / whole
        for removed in channels
    }


def _chance(moves: Counter[tuple[str, str]], kept: list[str]) -> Fraction:
    """The chance to reach a booking from the start over kept states, by Gaussian elimination in fractions."""
    leaving = {state: sum(n for (origin, _), n in moves.items() if origin == state) for state in kept}
    kept = _hopeful(moves, kept)
    if START not in kept:
        return Fraction(0)
    rows = []
    for state in kept:
        share = {target: Fraction(moves[state, target], leaving[state]) for target in [*kept, BOOKING]}
        rows.append([(1 if state == target else 0) - share[target] for target in kept] + [share[BOOKING]])
    for index in range(len(kept) - 1, -1, -1):  # eliminate the last states first: what is left is the start
        pivot = rows[index][index]
        rows[index] = [value / pivot for value in rows[index]]
        for other in range(index):
            factor = rows[other][index]
            rows[other] = [mine - factor * theirs for mine, theirs in zip(rows[other], rows[index], strict=True)]
    return rows[0][-1]


def _hopeful(moves: Counter[tuple[str, str]], kept: list[str]) -> list[str]:
    """Those from which some way leads to a booking."""
    found = {BOOKING}
    for _ in kept:
        found |= {origin for origin, target in moves if target in found and origin in kept}
    return [state for state in kept if state in found]


def _only(index: int) -> Claims:
    return lambda path, _: [Fraction(int(place == index % len(path))) for place in range(len(path))]


def _last_non_direct(path: Path, _: datetime) -> list[Fraction]:
    places = [place for place, touch in enumerate(path) if touch["channel"] != "direct"] or [len(path) - 1]
    return [Fraction(int(place == places[-1])) for place in range(len(path))]


def _position_based(path: Path, _: datetime) -> list[Fraction]:
    if len(path) <= 2:
        return [Fraction(1)] * len(path)
    return [Fraction(2, 5), *[Fraction(1, 5) / (len(path) - 2)] * (len(path) - 2), Fraction(2, 5)]


def _time_decay(path: Path, booked_at: datetime) -> list[Fraction]:
    ages = [(booked_at - touch["touched_at"]) / timedelta(days=7) for touch in path]
    return [Fraction(0.5**age) for age in ages]


def _markov(effects: dict[date, dict[str, Fraction]]) -> Claims:
    def claims(path: Path, booked_at: datetime) -> list[Fraction]:
        times = Counter(touch["channel"] for touch in path)
        known = effects[booked_at.date()]
        return [known.get(touch["channel"], Fraction(0)) / times[touch["channel"]] for touch in path]

    return claims


def credited(
    booked: pl.DataFrame, paths: dict[str, Path], effects: dict[date, dict[str, Fraction]]
) -> dict[tuple[Any, ...], list[Any]]:
    """(day, model, source, medium, campaign, channel) -> [bookings, cents]."""
    models: dict[str, Claims] = {
        "first_touch": _only(0),
        "last_touch": _only(-1),
        "last_non_direct": _last_non_direct,
        "linear": lambda path, _: [Fraction(1)] * len(path),
        "position_based": _position_based,
        "time_decay": _time_decay,
        "markov": _markov(effects),
    }
    found: dict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [0.0, 0])
    for row in booked.to_dicts():
        path, day = paths[row["event_id"]], row["ts"].date()
        for name, claims in models.items():
            weights = _shares(claims(path, row["ts"]))
            for touch, weight, cents in zip(path, weights, _split(row["value"] or 0, weights), strict=True):
                if weight:
                    total = found[_key(day, name, touch)]
                    total[0] += float(weight)
                    total[1] += cents
    return dict(found)


def performance(
    shared: dict[tuple[Any, ...], list[Any]],
    spend: list[tuple[date, str | None, str | None, int]],
    touches: pl.DataFrame,
) -> list[dict[str, Any]]:
    """Rows of the mart: credits beside costs in cents; spend goes to where its campaign was touched most in 30 days."""
    seen = [
        (row["touched_at"].date(), row["utm_source"], row["utm_campaign"], row["utm_medium"], row["channel"])
        for row in touches.to_dicts()
    ]
    costs: Counter[tuple[Any, ...]] = Counter()
    for day, source, campaign, cents in spend:
        recent = Counter(
            (medium, by)
            for at, of, name, medium, by in seen
            if (of, name) == (source, campaign) and day - WINDOW < at <= day
        )
        ways = [(*way, n) for way, n in recent.items()]
        ways.sort(key=lambda way: (-way[2], way[0] is None, way[0] or "", way[1]))
        medium, by = ways[0][:2] if ways else (None, channel(source, None, campaign))
        for model in MODELS:
            costs[(day, model, source, medium, campaign, by)] += cents
    names = ("attribution_date", "model", *UTM, "channel")
    rows = []
    for key in {*shared, *costs}:
        bookings, cents = shared.get(key, [0.0, 0])
        cost = costs[key]
        rows.append(
            {
                **dict(zip(names, key, strict=True)),
                "conversions": bookings,
                "revenue": cents,
                "cost": cost,
                "roas": cents / cost if cost else None,
                "cost_per_booking": cost / 100 / bookings if bookings else None,
            }
        )
    return rows


def _key(day: date, name: str, touch: Touch) -> tuple[Any, ...]:
    return (day, name, *(touch[field] for field in UTM), touch["channel"])


def _shares(claims: list[Fraction]) -> list[Fraction]:
    total = sum(claims)
    return [claim / total if total else Fraction(1, len(claims)) for claim in claims]


def _split(cents: int, weights: list[Fraction]) -> list[int]:
    """Whole cents by the largest remainder; equal ones (to six places) in the order of the journey."""
    due = [cents * weight for weight in weights]
    parts = [int(each) for each in due]
    order = sorted(
        range(len(due)), key=lambda place: (weights[place] == 0, -round(float(due[place] - parts[place]), 6), place)
    )
    for place in order[: cents - sum(parts)]:
        parts[place] += 1
    return parts
