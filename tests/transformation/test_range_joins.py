"""The linter refuses a join by a range alone: on skewed data it turns seconds into minutes and fills the disk."""

from __future__ import annotations

import pytest

from searchflow.settings import ROOT
from searchflow.transformation.project import quiet

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*")

FUNNEL = """
    SELECT COUNT(*) AS bookings FROM s.bookings
    INNER JOIN s.clicks ON clicks.event_id = bookings.click_event_id
"""


def refused(query: str, name: str = "s.m") -> str:
    with quiet():
        from sqlmesh.core.dialect import parse
        from sqlmesh.core.model import load_sql_based_model

        from linter.joins import NoRangeJoin
    model = load_sql_based_model(parse(f"MODEL (name {name}, dialect duckdb); {query}"))
    found = NoRangeJoin(None).check_model(model)  # type: ignore[arg-type]
    return "" if found is None else found.violation_msg or ""


@pytest.mark.parametrize(
    ("joined", "tables"),
    [
        # As the funnel was: both have an equality with clicks, and none with each other.
        ("JOIN s.searches ON searches.id = clicks.search_id AND bookings.at >= searches.at", "bookings and searches"),
        ("JOIN s.days ON bookings.at BETWEEN days.begins AND days.ends", "bookings and days"),
        ("CROSS JOIN s.days WHERE bookings.at < days.ends", "bookings and days"),
        ("JOIN s.days ON days.day = bookings.day AND bookings.at < days.ends", ""),
        ("JOIN s.days ON days.day IS NOT DISTINCT FROM bookings.day AND bookings.at < days.ends", ""),
        ("JOIN s.days ON days.day = bookings.day WHERE bookings.at < days.ends", ""),
        ("WHERE bookings.at >= clicks.at AND bookings.value > 10", ""),
    ],
)
def test_a_range_needs_an_equality_between_the_same_tables(joined: str, tables: str) -> None:
    said = refused(FUNNEL + joined)
    assert said.startswith(f"{tables} are joined by a range alone") if tables else not said


def test_each_declared_exception_is_a_model_that_needs_it() -> None:
    from sqlglot import exp
    from sqlmesh.core.dialect import parse

    from linter.joins import SMALL, range_joins

    for name, *tables in SMALL:
        schema, _, table = name.partition(".")
        with quiet():
            query = parse((ROOT / "models" / schema / f"{table}.sql").read_text(), default_dialect="duckdb")[-1]
        assert tuple(tables) in {pair for select in query.find_all(exp.Select) for pair in range_joins(select)}, name
