"""Checks of the warehouse, one function each: raw, sessions, the funnel, KPIs and attribution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import polars as pl

from searchflow import streams
from searchflow.verification import attribution
from searchflow.verification.comparison import compare
from searchflow.verification.expected import World
from searchflow.verification.found import PlatformState
from searchflow.verification.key import TOTALS, Key
from searchflow.verification.report import VerificationCheck

UNSURE = "lines wait in the streams, or a run without a seal sent them"
CENTS = "least(round({} * 100), 9000000000000000000)::BIGINT"
"""The SQL of an amount of money in cents. What would not fit is cut: no simulated value is so large, so it differs all
the same.
"""


def key_adds_up(key: Key) -> Iterator[VerificationCheck]:
    """Check the key's own KPIs against its lines: they were written by different routes."""
    human = ~pl.col("visitor_id").str.starts_with("bot")
    kind = pl.col("event_type")
    counts = (
        key.stored.filter(pl.col("sealed"))
        .group_by(pl.col("timestamp").dt.date().alias("day"))
        .agg(
            (human & (kind == "search")).sum().alias("searches"),
            (~human & (kind == "search")).sum().alias("bot_searches"),
            (human & (pl.col("results") == 0)).sum().alias("zero_result_searches"),
            (kind == "click").sum().alias("clicks"),
            (kind == "conversion").sum().alias("conversions"),
        )
    )
    totals = key.totals.with_columns(pl.col(TOTALS).cast(pl.UInt32))
    yield compare("key.kpis_daily", counts.with_columns(pl.col(TOTALS).cast(pl.UInt32)), totals, ["day"])


def raw(key: Key, found: PlatformState) -> Iterator[VerificationCheck]:
    """Check that every event is stored once and nothing else is, and that dead letters and duplicates are as many as
    were sent.
    """
    for event_type in streams.EVENT_TYPES:
        yield _raw_events(key, found, event_type)
    yield _dead_letters(key, found)
    yield _duplicates(key, found)


def _raw_events(key: Key, found: PlatformState, event_type: str) -> VerificationCheck:
    of_type = pl.col("event_type") == event_type
    stored = found.raw.filter(of_type).select("event_id", "source")
    sent = key.stored.filter(of_type)
    perhaps = sent.filter(~pl.col("sealed") & ~pl.col("event_id").is_in(stored["event_id"].implode()))
    sent = sent.join(perhaps.select("event_id"), on="event_id", how="anti").select("event_id").unique()
    check = compare(f"raw.{event_type}_events", sent, stored, ["event_id"])
    missing = sent.join(stored, on="event_id", how="anti")
    waiting = len(missing.filter(pl.col("event_id").is_in(list(found.waiting)))) if len(missing) else 0
    replayed = len(stored.filter(pl.col("source").str.contains("dead")).join(sent, on="event_id", how="anti"))
    reasons = [
        f"{waiting:,} wait in the stream for `searchflow ingest`" if waiting else "",
        f"{replayed:,} are dead letters that were replayed" if replayed else "",
    ]
    why = "; ".join(part for part in (check.why, *reasons) if part)
    return replace(check, explained=waiting + replayed, why=why)


def _dead_letters(key: Key, found: PlatformState) -> VerificationCheck:
    """Check dead letters by reason. A range that was sent again after a kill leaves the same dead letters again: they
    are counted once.
    """
    letters = found.query(
        "SELECT reason_code AS reason, count(DISTINCT raw_payload) AS letters FROM raw.dead_letters "
        "WHERE (event_type IS NULL OR event_type NOT IN ('ad_spend', 'user_profile')) AND reason_code <> 'erased_user' "
        "GROUP BY ALL"
    )
    erased = int(found.query("SELECT count(*) FROM raw.dead_letters WHERE reason_code = 'erased_user'").row(0)[0])
    sealed = pl.col("sealed")
    sent = key.lines.filter(pl.col("fate") == "dead_letter").group_by("reason")
    both = sent.agg(sealed.sum().alias("sent"), (~sealed).sum().alias("perhaps"))
    both = both.join(letters, on="reason", how="full", coalesce=True).with_columns(pl.exclude("reason").fill_null(0))
    total, explained, told = 0, 0, []
    for reason, sure, perhaps, there in both.select("reason", "sent", "perhaps", "letters").sort("reason").rows():
        if there != sure:
            total += abs(there - sure)
            explained += min(abs(there - sure), perhaps if there > sure else found.waiting_lines + erased)
            told.append(f"{reason}: sent {sure:,}, found {there:,}")
    known = f"{erased:,} dead letters were about people who are forgotten" if erased else UNSURE
    why = "; ".join([*told, known] if explained else told)
    return VerificationCheck(
        "raw.dead_letters", int(both["sent"].sum()), int(both["letters"].sum()), total, explained, why
    )


def _duplicates(key: Key, found: PlatformState) -> VerificationCheck:
    """Check exact duplicates that ingestion dropped. After a kill and a repeated run, all that was sent before comes
    again.
    """
    twice = key.lines.filter(pl.col("fate") == "duplicate")["sealed"]
    sent, perhaps = int(twice.sum()), len(twice) - int(twice.sum())
    dropped, received = found.query(
        "SELECT coalesce(sum(duplicates), 0)::BIGINT, coalesce(sum(received), 0)::BIGINT FROM ops.ingestion_batches "
        "WHERE coalesce(event_type, '') NOT IN ('ad_spend', 'user_profile')"
    ).row(0)
    again = max(0, received - len(key.lines)) if key.repeated else 0
    if dropped >= sent:
        explained = min(dropped - sent, again + perhaps)
        why = f"{again:,} lines came again: a run was killed, and its range was sent once more" if again else UNSURE
    else:
        explained, why = min(sent - dropped, found.waiting_lines), UNSURE
    return VerificationCheck("raw.duplicates", sent, dropped, abs(dropped - sent), explained, why if explained else "")


def sessions(world: World, found: PlatformState) -> Iterator[VerificationCheck]:
    """Check every visit that the true events make under the 30-minute rule, with its counts and, as far as known, its
    visitor.
    """
    columns = (
        "session_key",
        "visitor",
        "session_end",
        "searches",
        "clicks",
        "conversions",
        "value",
        "channel",
        "is_bot",
    )
    made = found.query(
        f"""SELECT session_key, visitor_id AS visitor, session_end, searches, clicks, conversions,
        {CENTS.format("revenue")} AS value, channel, is_bot FROM intermediate.int_search_sessions"""
    )
    check = compare("intermediate.int_search_sessions", world.sessions.select(columns), made, ["session_key"])
    visits = world.sessions["session_id"].n_unique()
    cut = f"{visits:,} client sessions, {len(world.sessions) - visits:,} more by the silence rule"
    yield replace(check, why=check.why or cut)


def funnel(world: World, found: PlatformState) -> Iterator[VerificationCheck]:
    """Check what came of each search, and the sums by day, platform, device, country and channel."""
    columns = (
        "event_id", "session_key", "visitor", "channel", "destination", "results", "clicks", "position", "conversions",
        "value", "is_bot",
    )  # fmt: skip
    made = found.query(
        f"""SELECT search_event_id AS event_id, session_key, visitor_id AS visitor, channel, destination,
        results_count AS results, clicks, first_click_position AS position, conversions,
        {CENTS.format("revenue")} AS value, is_bot FROM marts.fct_search_funnel"""
    )
    yield compare("marts.fct_search_funnel", world.funnel.select(columns), made, ["event_id"])
    by = ["search_date", "platform", "device_type", "country", "channel"]
    daily = (
        world.funnel.filter(~pl.col("is_bot"))
        .group_by(by)
        .agg(
            pl.len().cast(pl.Int64).alias("searches"),
            pl.col("clicks", "conversions", "value").sum(),
            (pl.col("results") == 0).sum().cast(pl.Int64).alias("zero_result_searches"),
            (pl.col("clicks") > 0).sum().cast(pl.Int64).alias("searches_with_click"),
        )
    )
    made = found.query(
        f"""SELECT {", ".join(by)}, searches, clicks, conversions, {CENTS.format("revenue")} AS value,
        zero_result_searches, searches_with_click FROM marts.fct_search_funnel_daily"""
    )
    yield compare("marts.fct_search_funnel_daily", daily, made, by)


def kpis(world: World, found: PlatformState) -> Iterator[VerificationCheck]:
    """Check the key figures of the business, day by day."""
    searches = pl.when(pl.col("searches") > 0).then("searches")
    expected = world.kpis().with_columns(
        (pl.col("searches_with_click") / searches).alias("click_through_rate"),
        (pl.col("searches_with_conversion") / searches).alias("conversion_rate"),
        (pl.col("zero_result_searches") / searches).alias("zero_result_rate"),
    )
    expected = expected.drop("searches_with_click", "searches_with_conversion", "zero_result_searches")
    made = found.query(
        f"""SELECT kpi_date AS day, searches, clicks, sessions, visitors, bot_searches, conversions,
        {CENTS.format("revenue")} AS revenue, click_through_rate, conversion_rate, zero_result_rate
        FROM marts.mart_kpi_daily"""
    )
    yield compare("marts.mart_kpi_daily", expected, made, ["day"])


def attributed(world: World, found: PlatformState) -> Iterator[VerificationCheck]:
    """Check that every model's credits of a day sum to what was booked, and that single-touch models credit the right
    channel.
    """
    credited = found.query(
        f"""SELECT model, attribution_date AS day, channel, sum(conversions) AS conversions,
        sum({CENTS.format("revenue")})::BIGINT AS revenue FROM marts.mart_campaign_attribution
        GROUP BY ALL HAVING sum(conversions) > 0"""
    )
    models = credited.select("model").unique()
    booked = attribution.booked_by_day(world).join(models, how="cross")
    totals = credited.group_by("model", "day").agg(pl.col("conversions", "revenue").sum())
    booked = booked.with_columns(pl.col("conversions").cast(pl.Float64))
    check = compare("attribution.totals", booked, totals, ["model", "day"])
    yield (
        check
        if len(models) == 7
        else replace(
            check, difference=check.difference + 7 - len(models), why=f"{len(models)} of 7 models; {check.why}"
        )
    )
    expected = attribution.by_day_and_channel(world)
    for model in attribution.SINGLE:
        of_model = pl.col("model") == model
        yield compare(
            f"attribution.{model}",
            expected.filter(of_model).drop("model"),
            credited.filter(of_model, pl.col("revenue") != 0).drop("model", "conversions"),
            ["day", "channel"],
        )
