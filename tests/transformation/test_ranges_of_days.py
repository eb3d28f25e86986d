"""Days become few ranges: each range is a query a model."""

from datetime import date, timedelta

from searchflow.transformation.marking import FEW_RANGES, MOST_RANGES, ranges_of

FIRST, DAY = date(2026, 1, 1), 86_400_000


def lengths(*days: int) -> list[int]:
    return [(end - start) // DAY for start, end in ranges_of({FIRST + timedelta(days=each) for each in days})]


def test_a_few_days_are_made_alone_and_neighbours_together() -> None:
    assert lengths(0, 1, 2, 5, 9, 40) == [3, 1, 1, 1]


def test_many_days_that_lie_close_are_one_range_and_distant_ones_are_not() -> None:
    scattered = [3 * each for each in range(FEW_RANGES + 1)]
    assert lengths(*scattered) == [3 * FEW_RANGES + 1]
    assert lengths(*scattered, 200) == [3 * FEW_RANGES + 1, 1]


def test_very_many_distant_days_are_one_range() -> None:
    assert lengths(*(20 * each for each in range(MOST_RANGES + 1))) == [20 * MOST_RANGES + 1]
