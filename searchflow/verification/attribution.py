"""Attribution: which channel each booking is credited to, by the rules that need no weights: first, last and last
non-direct touch.
"""

from __future__ import annotations

import polars as pl

from searchflow.verification.expected import World

SINGLE = ("first_touch", "last_touch", "last_non_direct")


def touched(world: World) -> pl.DataFrame:
    """Return one row for each booking and touchpoint: the visits of the same visitor that began in the window before
    it.
    """
    visits = world.sessions.select("visitor", "session_key", "channel", pl.col("session_start").alias("touched_at"))
    booked = world.bookings.select("event_id", "visitor", "timestamp", "value", "cause")
    return (
        booked.join(visits, on="visitor")
        .filter(
            pl.col("touched_at") <= pl.col("timestamp"),
            pl.col("touched_at") > pl.col("timestamp") - world.rules.attribution_window,
        )
        .sort("event_id", "touched_at", "session_key")
    )


def by_day_and_channel(world: World) -> pl.DataFrame:
    """Return credited cents: (model, day, channel, revenue) for the models of `SINGLE`."""
    campaign = pl.col("channel").filter(pl.col("channel") != "direct").last()
    credited = (
        touched(world)
        .group_by("event_id", maintain_order=True)
        .agg(
            pl.col("timestamp", "value").first(),
            pl.col("channel").first().alias("first_touch"),
            pl.col("channel").last().alias("last_touch"),
            pl.coalesce(campaign, pl.col("channel").last()).alias("last_non_direct"),
        )
    )
    long = credited.unpivot(SINGLE, index=["timestamp", "value"], variable_name="model", value_name="channel")
    return (
        long.group_by("model", pl.col("timestamp").dt.date().alias("day"), "channel")
        .agg(pl.col("value").sum().alias("revenue"))
        .filter(pl.col("revenue") != 0)
    )


def booked_by_day(world: World) -> pl.DataFrame:
    """Return what every model's credits of a day must sum to: (day, conversions, revenue in cents)."""
    return world.bookings.group_by(pl.col("timestamp").dt.date().alias("day")).agg(
        pl.len().cast(pl.Int64).alias("conversions"), pl.col("value").sum().alias("revenue")
    )
