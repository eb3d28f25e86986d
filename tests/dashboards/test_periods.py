"""Days are whole, and compared with as many."""

from __future__ import annotations

from datetime import date

import pytest

from dashboards.periods import Period, a_year_before, of_preset

KNOWN = Period(date(2025, 3, 1), date(2026, 3, 31))


def test_the_period_before_has_as_many_days_and_ends_the_day_before() -> None:
    assert Period(date(2026, 3, 4), date(2026, 3, 31)).previous() == Period(date(2026, 2, 4), date(2026, 3, 3))


def test_a_year_before_a_leap_day_is_the_28th() -> None:
    assert a_year_before(date(2028, 2, 29)) == date(2027, 2, 28)


@pytest.mark.parametrize(
    ("preset", "first"),
    [
        ("7d", date(2026, 3, 24)),
        ("28d", date(2026, 3, 3)),
        ("90d", date(2025, 12, 31)),
        ("12m", date(2025, 3, 31)),
        ("ytd", date(2026, 1, 1)),
        ("all", date(2025, 3, 1)),
    ],
)
def test_a_preset_ends_on_the_last_day_that_is_over(preset: str, first: date) -> None:
    assert of_preset(preset, KNOWN, last_over=date(2026, 3, 30)) == Period(first, date(2026, 3, 30))


def test_a_preset_never_leaves_the_known_days() -> None:
    short = Period(date(2026, 3, 29), date(2026, 3, 31))
    assert of_preset("28d", short, last_over=date(2026, 11, 1)) == short
    assert of_preset("7d", short, last_over=date(2020, 1, 1)) == Period(date(2026, 3, 29), date(2026, 3, 29))
