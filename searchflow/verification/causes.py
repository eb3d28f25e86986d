"""Causes: how far each attribution model is from the truth. Only a simulation knows what caused a booking.

The comparison is of shares of revenue by channel. Bookings that no campaign caused have no channel to be credited to,
so the truth is the revenue that some channel did cause.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from searchflow.verification.expected import World
from searchflow.verification.found import PlatformState

UNCAUSED = "none"


def compare(world: World, found: PlatformState) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return (one row for each channel: the true share and each model's; one row for each model: its distance from the
    truth).
    """
    known = world.bookings.filter(pl.col("cause").is_not_null())
    if known.is_empty():
        return [], []
    caused = known.filter(pl.col("cause") != UNCAUSED)
    truth = _shares(caused.group_by(pl.col("cause").alias("channel")).agg(pl.col("value").sum().alias("revenue")))
    credited = found.query(
        "SELECT model, channel, sum(revenue)::DOUBLE AS revenue FROM marts.mart_campaign_attribution GROUP BY ALL"
    )
    table = truth.rename({"share": "truth"})
    for (model,), rows in sorted(credited.group_by("model")):
        share = _shares(rows.drop("model")).rename({"share": str(model)})
        table = table.join(share, on="channel", how="full", coalesce=True).fill_null(0.0)
    return table.sort("truth", descending=True).to_dicts(), _distances(table)


def _shares(revenue: pl.DataFrame) -> pl.DataFrame:
    total = pl.col("revenue").sum()
    return revenue.select("channel", (pl.col("revenue") / total).cast(pl.Float64).alias("share"))


def _distances(table: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the total variation distance: the share of revenue that would have to move. 0 is right, 1 is all wrong."""
    distances = []
    for model in table.columns:
        if model not in ("channel", "truth"):
            error = (table[model] - table["truth"]).abs()
            distances.append(
                {
                    "model": model,
                    "total_variation": round(float(error.sum()) / 2, 4),
                    "mean_absolute_error": round(float(error.mean() or 0.0), 4),  # type: ignore[arg-type]
                    "worst_channel": str(table["channel"][int(error.arg_max() or 0)]),
                }
            )
    return sorted(distances, key=lambda row: row["total_variation"])
