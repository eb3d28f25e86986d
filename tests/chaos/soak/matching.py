"""Each observation has a cause, and each cause that must be told was told once. Pure: causes and observations in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from tests.chaos.soak.journal import ALARM, STATUS, Cause, Expected, Observation

BEFORE = timedelta(seconds=5)
"""A run that fails may have begun, and be dated, a moment before its cause was noted."""


@dataclass
class Matched:
    """Which observation belongs to which cause, which has none, and which cause was not told or told twice."""

    pairs: list[tuple[Observation, Cause]] = field(default_factory=list)
    unmatched: list[Observation] = field(default_factory=list)
    untold: list[tuple[Cause, Expected]] = field(default_factory=list)
    twice: list[tuple[Cause, Expected, int]] = field(default_factory=list)


def match(causes: Sequence[Cause], observations: Sequence[Observation], end: datetime) -> Matched:
    """Match them. `end` is the end of the soak: a cause without an end lasted until then."""
    result, told = Matched(), dict[tuple[int, Expected], int]()
    for observation in observations:
        found = _cause_of(observation, causes, end)
        if found is None:
            result.unmatched.append(observation)
            continue
        cause, expected = found
        result.pairs.append((observation, cause))
        if expected.must and observation.kind == expected.kind:
            told[cause.number, expected] = told.get((cause.number, expected), 0) + 1
    for cause in causes:
        for expected in cause.expects:
            count = told.get((cause.number, expected), 0)
            if expected.must and not count:
                result.untold.append((cause, expected))
            if expected.must and expected.kind == ALARM and count > 1:
                result.twice.append((cause, expected, count))
    return result


def _cause_of(observation: Observation, causes: Sequence[Cause], end: datetime) -> tuple[Cause, Expected] | None:
    """The cause it belongs to: one that must be told before one that may, the latest before earlier ones."""
    fitting = [
        (expected.must, cause.began, cause, expected)
        for cause in causes
        for expected in cause.expects
        if _fits(observation, cause, expected, end)
    ]
    if not fitting:
        return None
    _, _, cause, expected = max(fitting, key=lambda each: each[:2])
    return cause, expected


def _fits(observation: Observation, cause: Cause, expected: Expected, end: datetime) -> bool:
    # `status` shows a level that is broken as soon as it is; the alarm of it is told by the next look of monitoring.
    shown = expected.kind == ALARM and observation.kind == STATUS
    if not shown and observation.kind != expected.kind:
        return False
    if not fnmatchcase(observation.what, expected.what):
        return False
    last = cause.began if expected.must and not shown else cause.ended or end
    return cause.began - BEFORE <= observation.at <= last + timedelta(seconds=expected.within)
