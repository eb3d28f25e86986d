"""The examples in the docstrings hold; text from outside stays text."""

from __future__ import annotations

import doctest

import pytest

from dashboards import formats


def test_the_examples_hold() -> None:
    assert doctest.testmod(formats).failed == 0


@pytest.mark.parametrize("value", [None, 0, 0.004, 999.994, 999.996, 1000, 999_499, 999_500, -1234.5])
def test_money_never_shows_more_than_it_knows(value: float | None) -> None:
    shown = formats.money(value)
    assert shown == "–" if value is None else "CA$" in shown
    assert "1,000.00" not in shown
    assert "1,000,000" not in shown


def test_a_change_that_rounds_to_nothing_has_no_sign() -> None:
    assert formats.signed_percent(0.0001) == "0.0%"
    assert formats.signed_percent(-0.0001) == "0.0%"
