"""Lineage tells what a column may hold from what only decides about it."""

from __future__ import annotations

import pytest
import sqlglot

from searchflow.transformation.lineage import deciding_columns


@pytest.mark.parametrize(
    ("projection", "deciding"),
    [
        ("user_id AS who", set()),
        ("coalesce(user_id, session_id)", set()),
        ("md5(user_id || country)", set()),
        ("max(CASE WHEN recency = 1 THEN country END)", {"recency"}),
        ("CASE user_id WHEN 'x' THEN country ELSE city END", {"user_id"}),
        ("CASE WHEN user_id IS NULL THEN session_id ELSE user_id END", set()),
        ("if(user_id IS NULL, country, city)", {"user_id"}),
        ("row_number() OVER (PARTITION BY user_id ORDER BY searched_at)", {"user_id", "searched_at"}),
        ("lag(segment) OVER (PARTITION BY user_id ORDER BY month)", {"user_id", "month"}),
        ("first_value(user_id) OVER (PARTITION BY user_id)", set()),
        ("arg_max(country, searched_at)", {"searched_at"}),
        ("arg_max(user_id, searched_at)", {"searched_at"}),
        ("max(country) FILTER (WHERE user_id IS NOT NULL)", {"user_id"}),
        ("list(country ORDER BY user_id)", {"user_id"}),
    ],
)
def test_what_a_column_may_hold_and_what_decides(projection: str, deciding: set[str]) -> None:
    query = sqlglot.parse_one(f"SELECT {projection} FROM visits", dialect="duckdb")
    assert deciding_columns(query.expressions[0]) == deciding
