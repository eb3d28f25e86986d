"""Is a text a cron line? Checked when a sync file is read, long before a scheduler would refuse it."""

from __future__ import annotations

import re

FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))
_PART = re.compile(r"^(?:\*|(\d+)(?:-(\d+))?)(?:/([1-9]\d*))?$")


def cron_problem(line: str) -> str | None:
    """What is wrong with a cron line of five fields (numbers, `*`, ranges, lists and steps); None: nothing.

    >>> cron_problem("*/15 * * * *")
    >>> cron_problem("0 25 * * *")
    "the hour '25' is not within 0 to 23"
    """
    parts = line.split()
    if len(parts) != len(FIELDS):
        return f"is a cron line of five fields (minute hour day month weekday, UTC), not of {len(parts)}"
    for part, (name, lowest, highest) in zip(parts, FIELDS, strict=True):
        for item in part.split(","):
            found = _PART.match(item)
            if found is None:
                return f"the {name} {item!r} is none of `*`, a number, a range, or one of these with a step"
            numbers = [int(number) for number in found.groups()[:2] if number is not None]
            if any(not lowest <= number <= highest for number in numbers) or numbers != sorted(numbers):
                return f"the {name} {item!r} is not within {lowest} to {highest}"
    return None
