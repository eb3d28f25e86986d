"""Recommendations: what the cache must hold at a moment (the rule is written out in `marts.mart_recommendations`)."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from searchflow.verification.expected import World

POPULAR = "__popular__"


def scores(world: World, moment: datetime) -> pl.DataFrame:
    """Return (user_id, destination, score), the best destinations of each user and of the popular list."""
    interests = _interests(world, moment)
    popular = interests.group_by("destination").agg(pl.col("interest").sum())
    likeness = _likeness(interests, popular, world.rules.recommendation_neighbours)
    own = (
        interests.filter(pl.col("user_id").is_not_null())
        .join(likeness, left_on="destination", right_on="seen")
        .group_by("user_id", pl.col("other").alias("destination"))
        .agg((pl.col("interest") * pl.col("likeness")).sum().alias("points"))
    )
    booked = interests.filter(pl.col("bookings") > 0).select("user_id", "destination")
    own = own.join(booked, on=["user_id", "destination"], how="anti")
    everybody = popular.select(pl.lit(POPULAR).alias("user_id"), "destination", pl.col("interest").alias("points"))
    scored = pl.concat([own, everybody]).with_columns(
        (pl.col("points") / pl.col("points").max().over("user_id")).round(3).alias("score")
    )
    ranked = scored.filter(pl.col("score") > 0).sort("score", "destination", descending=[True, False])
    place = pl.int_range(pl.len()).over("user_id")
    return ranked.filter(place < world.rules.recommendations_per_user).select("user_id", "destination", "score")


def _interests(world: World, moment: datetime) -> pl.DataFrame:
    """Return how much each visitor is interested in each destination. Interest halves with time."""
    looks = world.funnel.filter(
        pl.col("timestamp") >= moment - world.rules.recommendation_window,
        pl.col("destination").is_not_null(),
        ~pl.col("is_bot"),
    )
    age = int(moment.replace(tzinfo=UTC).timestamp()) - pl.col("timestamp").dt.epoch("s")  # whole seconds
    return (
        looks.with_columns((0.5 ** (age / 86400.0 / world.rules.half_life_days)).alias("interest"))
        .group_by("visitor", "destination")
        .agg(pl.col("user_id").max(), pl.col("interest").sum(), pl.col("conversions").sum().alias("bookings"))
    )


def _likeness(interests: pl.DataFrame, popular: pl.DataFrame, nearest: int) -> pl.DataFrame:
    """Return the cosine between destinations by common visitors: (seen, other, likeness), the nearest ones and itself."""
    one = interests.select("visitor", pl.col("destination").alias("seen"), "interest")
    two = interests.select("visitor", pl.col("destination").alias("other"), pl.col("interest").alias("interest_other"))
    common = (
        one.join(two, on="visitor")
        .filter(pl.col("seen") != pl.col("other"))
        .group_by("seen", "other")
        .agg(pl.min_horizontal("interest", "interest_other").sum().alias("common"))
        .join(popular.rename({"destination": "seen", "interest": "of_seen"}), on="seen")
        .join(popular.rename({"destination": "other", "interest": "of_other"}), on="other")
        .with_columns((pl.col("common") / (pl.col("of_seen") * pl.col("of_other")).sqrt()).alias("likeness"))
        .sort("likeness", "other", descending=[True, False])
        .filter(pl.int_range(pl.len()).over("seen") < nearest)
        .select("seen", "other", "likeness")
    )
    itself = popular.select(
        pl.col("destination").alias("seen"), pl.col("destination").alias("other"), pl.lit(1.0).alias("likeness")
    )
    return pl.concat([common, itself])
