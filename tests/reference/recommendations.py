"""Recommendations as of the beginning of each held-out week, and how many of them were looked at in it."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, time, timedelta
from math import log2, sqrt
from typing import Any

import polars as pl

DAY, WEEK, WINDOW = timedelta(days=1), timedelta(days=7), timedelta(days=90)
HALF_LIFE, NEIGHBOURS, LENGTH = 30, 15, 10
POPULAR = "__popular__"
Scores = dict[str, dict[str, float]]


def quality(searches: pl.DataFrame, owners: pl.DataFrame, now: datetime) -> dict[str, list[dict[str, Any]]]:
    """`marts.mart_recommendation_quality`: the last four weeks, each held out."""
    today = datetime.combine(now.date(), time())
    logins = {row["session_id"]: row["identified_at"] for row in owners.to_dicts()}
    looks = [row for row in searches.to_dicts() if row["destination"] is not None and not row["is_bot"]]
    rows: list[dict[str, Any]] = []
    for start in (today - number * WEEK for number in (1, 2, 3, 4)):
        known = [
            {**row, "user_id": row["user_id"] if (logins[row["session_id"]] or now) < start else None}
            for row in looks
            if start - WINDOW <= row["searched_at"] < start and row["first_click_at"] < start
        ]
        wanted: dict[str, set[str]] = defaultdict(set)
        for row in looks:
            if row["user_id"] is not None and start <= row["searched_at"] < start + WEEK:
                wanted[row["user_id"]].add(row["destination"])
        rows += _week(start, known, wanted)
    return {"marts.mart_recommendation_quality": rows}


def _week(start: datetime, known: list[dict[str, Any]], wanted: dict[str, set[str]]) -> list[dict[str, Any]]:
    lists, popular, seen = _learnt(known, start)
    tested = sorted(set(wanted) & set(lists))
    rows = []
    for scope in ("all", "new"):
        for name in ("recommendations", "popular"):
            results = []
            for user in tested:
                left_out = seen[user] if scope == "new" else set()
                ranked = _ranked(lists[user] if name == "recommendations" else popular)
                best = [place for place in ranked if place not in left_out][:LENGTH]
                if targets := wanted[user] - left_out:
                    results.append(_measured(best, targets))
            if results:
                rows.append(
                    {
                        "held_out_from": start.date(),
                        "held_out_until": (start + 6 * DAY).date(),
                        "scope": scope,
                        "recommender": name,
                        "users": len(results),
                        "users_without_list": len(set(wanted) - set(lists)),
                        "destinations": sum(result[0] for result in results),
                        "hits": sum(result[1] for result in results),
                        "recall_at_10": sum(hits / targets for targets, hits, _ in results) / len(results),
                        "ndcg_at_10": sum(gain for _, _, gain in results) / len(results),
                    }
                )
    return rows


def _measured(best: list[str], targets: set[str]) -> tuple[int, int, float]:
    hits = [number for number, place in enumerate(best, start=1) if place in targets]
    ideal = sum(1 / log2(number + 1) for number in range(1, min(LENGTH, len(targets)) + 1))
    return len(targets), len(hits), sum(1 / log2(number + 1) for number in hits) / ideal


def _ranked(scores: dict[str, float]) -> list[str]:
    return sorted(scores, key=lambda place: (-scores[place], place))


def _learnt(known: list[dict[str, Any]], start: datetime) -> tuple[Scores, dict[str, float], dict[str, set[str]]]:
    """(lists of users, the popular list, what each user had looked at)."""
    interest: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    booked: dict[str, set[str]] = defaultdict(set)
    users: set[str] = set()
    for row in known:
        who = row["user_id"] or f"anon:{row['session_id']}"
        users |= {who} if row["user_id"] else set()
        age = (start - row["searched_at"].replace(microsecond=0)).total_seconds() / 86400
        interest[who][row["destination"]] += 0.5 ** (age / HALF_LIFE)
        if row["first_conversion_at"] is not None and row["first_conversion_at"] < start:
            booked[who].add(row["destination"])
    popular: dict[str, float] = defaultdict(float)
    common: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for theirs in interest.values():
        for place, much in theirs.items():
            popular[place] += much
            for other, less in theirs.items():
                if other != place:
                    common[place][other] += min(much, less)
    lists: Scores = {}
    for user in users:
        points: dict[str, float] = defaultdict(float)
        for place, much in interest[user].items():
            likeness = {other: pair / sqrt(popular[place] * popular[other]) for other, pair in common[place].items()}
            for other in [place, *_ranked(likeness)[:NEIGHBOURS]]:
                points[other] += much * likeness.get(other, 1.0)
        lists[user] = _scored({place: each for place, each in points.items() if place not in booked[user]})
    return {user: each for user, each in lists.items() if each}, _scored(popular), {u: set(interest[u]) for u in users}


def _scored(points: dict[str, float]) -> dict[str, float]:
    best = max(points.values(), default=1.0)
    scores = {place: round(each / best, 3) for place, each in points.items()}
    return {place: score for place, score in scores.items() if score > 0}
