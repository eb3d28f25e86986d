"""Comparison of two frames: what is missing, unexpected, there twice, or different."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from searchflow.verification.report import VerificationCheck

TOLERANCE = 1e-6
"""The tolerance for rates and weights; counts and cents must be equal."""


def compare(check: str, expected: pl.DataFrame, found: pl.DataFrame, on: Sequence[str]) -> VerificationCheck:
    """Compare rows by their key `on`, in every other column of `expected`. A row counts as one difference at the most."""
    values = [name for name in expected.columns if name not in on]
    twice = len(found) - found.select(on).n_unique()
    left = expected.with_columns(pl.lit(1).alias("_expected"))
    right = found.select(*on, *values).unique(list(on), keep="first").with_columns(pl.lit(1).alias("_found"))
    both = left.join(right, on=list(on), how="full", coalesce=True, suffix="_found", nulls_equal=True)
    missing = both.filter(pl.col("_found").is_null())
    unexpected = both.filter(pl.col("_expected").is_null())
    paired = both.filter(pl.col("_found").is_not_null(), pl.col("_expected").is_not_null())
    differs = {name: _differs(expected.schema[name], name) for name in values}
    wrong = paired.filter(pl.any_horizontal(differs.values())) if values else paired.clear()
    parts = [
        (len(missing), "missing", missing),
        (len(unexpected), "unexpected", unexpected),
        (twice, "there twice", found.filter(found.select(on).is_duplicated())),
        (len(wrong), f"different in {_columns(wrong, differs)}", wrong),
    ]
    told = [f"{count:,} {what}, as {_example(rows, on)}" for count, what, rows in parts if count]
    return VerificationCheck(check, len(expected), len(found), sum(count for count, _, _ in parts), 0, "; ".join(told))


def _differs(kind: pl.DataType, name: str) -> pl.Expr:
    one, two = pl.col(name), pl.col(f"{name}_found")
    if kind.is_float():
        return ((one - two).abs() > TOLERANCE).fill_null(one.is_null() != two.is_null())
    return one.ne_missing(two)


def _columns(wrong: pl.DataFrame, differs: dict[str, pl.Expr]) -> str:
    if not len(wrong):
        return ""
    counts = wrong.select(expression.sum().alias(name) for name, expression in differs.items()).row(0, named=True)
    return ", ".join(name for name, count in counts.items() if count)


def _example(rows: pl.DataFrame, on: Sequence[str]) -> str:
    return " ".join(str(value) for value in rows.select(on).row(0))
