"""Checks of the destinations, one function each: the CRM table, the e-mail outbox and the recommendation cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

import msgspec
import polars as pl
import psycopg

from searchflow import services, streams
from searchflow.holdout import rule_of
from searchflow.verification import recommendations
from searchflow.verification.comparison import compare
from searchflow.verification.expected import World
from searchflow.verification.found import PlatformState
from searchflow.verification.key import Key, Shape
from searchflow.verification.report import VerificationCheck

EMAILS = "abandoned_search_emails"
OUTBOX = "searchflow:email:outbox"
RECOMMENDED, FALLBACK = "searchflow:reco:", "popular"
SCORE_TOLERANCE = 0.0015
"""The tolerance for scores: they have three decimals, and the last one may be rounded either way."""
WorldAt = Callable[[datetime], World]


def crm(found: PlatformState, world_at: WorldAt) -> Iterator[VerificationCheck]:
    """Check that `crm.user_segments` holds every user with the segment that the rule gives them."""
    moments = found.sync_moments("crm_user_segments")
    rows = _crm_rows(found)
    if not moments:
        yield _not_yet("crm.user_segments", len(rows))
        return
    columns = ("user_id", "segment", "value", "conversions", "last_seen_at", "country")
    expected = world_at(moments[-1]).segments(moments[-1]).select(columns)
    yield compare("crm.user_segments", expected, rows, ["user_id"])


def _crm_rows(found: PlatformState) -> pl.DataFrame:
    """Return active rows; those of users who left are marked."""
    shape: Shape = {
        "user_id": pl.String, "segment": pl.String, "value": pl.Int64, "conversions": pl.Int64,
        "last_seen_at": pl.Datetime("us"), "country": pl.String,
    }  # fmt: skip
    with psycopg.connect(services.postgres_dsn(found.settings, "crm")) as connection:
        if connection.execute("SELECT to_regclass('crm.user_segments')").fetchone() == (None,):
            return pl.DataFrame(schema=shape)
        rows = connection.execute(
            "SELECT user_id, segment, least(round(lifetime_revenue * 100), 9000000000000000000)::bigint, conversions, "
            "last_seen_at AT TIME ZONE 'UTC', country FROM crm.user_segments WHERE is_active"
        ).fetchall()
    return pl.DataFrame(rows, schema=shape, orient="row")


def outbox(key: Key, found: PlatformState, world_at: WorldAt) -> Iterator[VerificationCheck]:
    """Check that one message was sent for each user and day of an abandoned search, over all syncs so far.

    It is expected for users who had agreed and were not suppressed or held out.
    """
    runs = found.sync_runs(EMAILS)
    messages = _messages(found)
    if not runs:
        yield _not_yet("email.outbox", len(messages))
        return
    due = [_due(key, found, moment, starts, world_at) for moment, starts in sorted(runs.items())]
    yield compare("email.outbox", pl.concat(due).unique().select("key"), messages, ["key"])


def _due(key: Key, found: PlatformState, moment: datetime, starts: list[datetime], world_at: WorldAt) -> pl.DataFrame:
    """Return messages due at a moment to users whose newest profile by then agrees, in the runs that began at `starts`."""
    loaded = found.profiles.filter(pl.col("ingested_at") <= moment)["updated_at"].max()
    newest = (
        key.profiles.filter(pl.col("updated_at") <= loaded)
        .sort("updated_at")
        .group_by("user_id")
        .agg(pl.col("marketing_consent").last())
    )
    agreed = newest.filter(pl.col("marketing_consent")).select("user_id")
    due = world_at(moment).abandoned(moment).join(agreed, on="user_id", how="semi")
    return pl.concat([due.filter(~pl.col("user_id").is_in(_left_out(found, due, start))) for start in starts])


def _left_out(found: PlatformState, due: pl.DataFrame, start: datetime) -> list[str]:
    """Return users to whom a run that began at `start` sent nothing: by the rule in the sync file, and by the
    suppression list.
    """
    left_out = found.suppressed(start)
    rule = rule_of(EMAILS)
    since = None if rule is None else found.holdout_since(EMAILS, rule.seed)
    if rule is not None and since is not None and start >= since:
        left_out |= {user for user in due["user_id"].unique() if rule.holds_out(user)}
    return sorted(left_out)


def _messages(found: PlatformState) -> pl.DataFrame:
    """Return the keys of the entries in the stream, and of those that the delivery worker took from it and has settled.

    The stream is read first: a message that is settled in between is in both.
    """
    keys: set[str] = set()
    with streams.connect(found.settings) as client:
        place = streams.START
        while entries := streams.read(client, OUTBOX, place, entries=1000):
            place = entries[-1][0]
            keys |= {msgspec.json.decode(fields[b"data"])["idempotency_key"] for _, fields in entries}
    keys |= set(_settled(found))
    return pl.DataFrame({"key": sorted(keys)}, schema={"key": pl.String})


def _settled(found: PlatformState) -> list[str]:
    with psycopg.connect(services.postgres_dsn(found.settings, "ledger")) as connection:
        if connection.execute("SELECT to_regclass('email.messages')").fetchone() == (None,):
            return []
        rows = connection.execute("SELECT key FROM email.messages WHERE cleared AND user_id <> ''").fetchall()
    return [row[0] for row in rows]


def recommended(found: PlatformState, world_at: WorldAt) -> Iterator[VerificationCheck]:
    """Check that every user's hash and the popular list hold what the rule recommends."""
    moments = found.sync_moments("recommendations")
    hashes = _hashes(found)
    if not moments:
        yield _not_yet("recommendations.users", hashes["user_id"].n_unique())
        return
    expected = recommendations.scores(world_at(moments[-1]), moments[-1])
    popular = pl.col("user_id") == recommendations.POPULAR
    yield compare(
        "recommendations.users",
        expected.filter(~popular).select("user_id").unique(),
        hashes.filter(~popular).select("user_id").unique(),
        ["user_id"],
    )
    yield _scores("recommendations.scores", expected.filter(~popular), hashes.filter(~popular))
    yield _scores("recommendations.popular", expected.filter(popular), hashes.filter(popular))


def _scores(check: str, expected: pl.DataFrame, hashes: pl.DataFrame) -> VerificationCheck:
    """Compare the scores within the tolerance. Of equal scores at a list's end, either may have been cut off."""
    both = expected.join(hashes, on=["user_id", "destination"], how="full", coalesce=True, suffix="_found")
    end = pl.min_horizontal(pl.col("score").min(), pl.col("score_found").min()).over("user_id")
    at_the_end = pl.coalesce("score", "score_found") <= end + SCORE_TOLERANCE
    one_sided = (pl.col("score").is_null() | pl.col("score_found").is_null()) & ~at_the_end
    far = ((pl.col("score") - pl.col("score_found")).abs() > SCORE_TOLERANCE).fill_null(value=False)
    wrong = both.filter(one_sided | far)
    why = f"as {' '.join(map(str, wrong.row(0)))} (user, destination, expected, found)" if len(wrong) else ""
    return VerificationCheck(check, len(expected), len(hashes), len(wrong), 0, why)


def _hashes(found: PlatformState) -> pl.DataFrame:
    """Return (user_id, destination, score) of every hash."""
    rows: list[tuple[str, str, float]] = []
    with streams.connect(found.settings) as client:
        names = list(client.scan_iter(match=f"{RECOMMENDED}*", count=1000, _type="hash"))
        pipeline = client.pipeline(transaction=False)
        for name in names:
            pipeline.hgetall(name)
        for name, members in zip(names, pipeline.execute(), strict=True):
            user = name.decode().removeprefix(RECOMMENDED)
            user = recommendations.POPULAR if user == FALLBACK else user
            rows += [(user, place.decode(), float(score)) for place, score in members.items()]
    shape = {"user_id": pl.String, "destination": pl.String, "score": pl.Float64}
    return pl.DataFrame(rows, schema=shape, orient="row")


def _not_yet(check: str, rows: int) -> VerificationCheck:
    """Return a check that expects nothing at the destination, for use before the first sync."""
    return replace(VerificationCheck(check, 0, rows, rows), why="not activated yet: `searchflow activate`")
