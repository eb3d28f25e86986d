"""One line a service level: its worst measurement, in its unit, and how many of them keep it."""

from __future__ import annotations

import doctest
from typing import Any

from dashboards.operations import freshness


def measured(level: str, target: str, state: str, value: float | None, bound: str = "at_most") -> dict[str, Any]:
    unit, limit = ("seconds", 120.0) if bound == "at_most" else ("share", 0.999)
    return {"level": level, "target": target, "state": state, "value": value, "bound": bound, "limit_value": limit,
            "unit": unit, "sentence": f"{level} is kept."}  # fmt: skip


def test_a_level_is_as_its_worst_measurement_and_what_is_unknown_breaks_nothing() -> None:
    found = freshness.summaries(
        [
            measured("lag", "search", "kept", 3.0),
            measured("lag", "click", "kept", 90.0),
            measured("lag", "conversion", "unknown", None),
            measured("whole", "marts.a", "broken", 0.5, "at_least"),
            measured("whole", "marts.b", "kept", 1.0, "at_least"),
            measured("later", "sync x", "unknown", None),
        ]
    )
    assert [(row["state"], row["of"], row["now"], row["limit"], row["kept"]) for row in found] == [
        ("✕ broken", "marts.a", "50.0%", "99.9%", "1 of 2"),
        ("✓ kept", "click", "1 min 30 s", "2 min 0 s", "2 of 2, 1 not known yet"),
        ("? not known", "sync x", "–", "2 min 0 s", "1 not known yet"),
    ]


def test_the_examples_hold() -> None:
    assert doctest.testmod(freshness).failed == 0
