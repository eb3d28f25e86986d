from __future__ import annotations

import pytest

from expectations.outcome import Outcome, crash_message, of_check, worst


@pytest.mark.parametrize(
    ("success", "crashed", "severity", "expected"),
    [
        (True, False, "critical", Outcome.PASS),
        (False, False, "critical", Outcome.FAIL),
        (False, False, "warning", Outcome.WARN),
        (False, True, "warning", Outcome.ERROR),
        (False, True, "critical", Outcome.ERROR),
    ],
)
def test_a_check_has_one_of_four_outcomes(success: bool, crashed: bool, severity: str, expected: Outcome) -> None:
    assert of_check(success=success, crashed=crashed, severity=severity) is expected


def test_the_worst_outcome_counts_and_nothing_at_all_passes() -> None:
    assert worst([Outcome.PASS, Outcome.WARN, Outcome.FAIL]) is Outcome.FAIL
    assert worst([Outcome.ERROR, Outcome.FAIL]) is Outcome.ERROR
    assert worst([]) is Outcome.PASS


def test_only_failed_and_unchecked_block() -> None:
    assert [outcome for outcome in Outcome if outcome.blocks] == [Outcome.FAIL, Outcome.ERROR]


def test_a_crash_is_found_in_both_shapes_of_exception_information() -> None:
    missing = "Catalog Error: Table with name dim_users does not exist!\n\nLINE 1: SELECT"
    flat = {"raised_exception": True, "exception_message": f"(duckdb.CatalogException) {missing}"}
    assert crash_message(flat) == "Catalog Error: Table with name dim_users does not exist!"
    assert crash_message({"('metric', 'id')": flat}) == crash_message(flat)
    assert crash_message({"raised_exception": False, "exception_message": None}) is None
    assert crash_message(None) is None


def test_a_crash_over_a_value_does_not_quote_it() -> None:
    message = "(duckdb.ConversionException) Conversion Error: Could not convert string 'zoe@example.org' to INT32"
    said = crash_message({"raised_exception": True, "exception_message": message})
    assert said is not None
    assert said.startswith("Conversion Error in the check's SQL")
    assert "zoe" not in said
