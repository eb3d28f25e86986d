"""How far a changed day reaches: as its model says, in variables."""

from __future__ import annotations

from datetime import date

import pytest

from searchflow.transformation.reach import ChangedDays, days_to_make

WINDOWS = {"window": 3, "memory": 2}


def march(*numbers: int) -> set[date]:
    return {date(2026, 3, number) for number in numbers}


CHANGED = ChangedDays(visits=frozenset(march(1, 2, 20)), searches=frozenset(march(9)), spend=frozenset(march(11)))


@pytest.mark.parametrize(
    ("tags", "days"),
    [
        ([], march(1, 2, 9, 20)),
        (["finance"], march(1, 2, 9, 20)),
        (["visits", "spend"], march(1, 2, 11, 20)),
        (["visits reach: window"], march(1, 2, 3, 4, 5, 20, 21, 22)),
        (["searches reach: window + memory"], march(9, 10, 11, 12, 13, 14)),
    ],
)
def test_a_model_makes_the_days_that_its_tags_name_and_those_in_reach_up_to_today(
    tags: list[str], days: set[date]
) -> None:
    assert days_to_make(tags, CHANGED, WINDOWS, date(2026, 3, 22)) == days


def test_a_reach_that_no_variable_measures_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="moon"):
        days_to_make(["visits reach: moon"], CHANGED, WINDOWS, date(2026, 3, 22))
