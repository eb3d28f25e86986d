"""The four outcomes of a check and of a suite.

Great Expectations knows two: a check that crashed looks like one that failed, and a failed warning like a failed
critical. A gate must tell them apart, because a crash says nothing about the data.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """How a check, a suite or a run ended, the worst last."""

    PASS = "pass"  # noqa: S105  (not a password)
    WARN = "warn"
    FAIL = "fail"
    ERROR = "error"

    @property
    def blocks(self) -> bool:
        """True when nothing that depends on the table may leave: it failed, or nobody knows."""
        return self in (Outcome.FAIL, Outcome.ERROR)


_ORDER = list(Outcome)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The worst of several outcomes; pass when there are none."""
    return max(outcomes, key=_ORDER.index, default=Outcome.PASS)


def of_check(*, success: bool, crashed: bool, severity: str) -> Outcome:
    """The outcome of one check.

    >>> of_check(success=False, crashed=False, severity="warning")
    <Outcome.WARN: 'warn'>
    """
    if crashed:
        return Outcome.ERROR
    if success:
        return Outcome.PASS
    return Outcome.FAIL if severity == "critical" else Outcome.WARN


def crash_message(exception_info: dict[str, Any] | None) -> str | None:
    """The first line of the exception in a result of Great Expectations, or None when there was none.

    The information comes in two shapes: flat, or keyed by the metric that raised.
    """
    info = exception_info or {}
    entries = [info, *[value for value in info.values() if isinstance(value, dict)]]
    for entry in entries:
        if entry.get("raised_exception"):
            message = str(entry.get("exception_message") or "unknown error")
            return (message.strip().splitlines() or ["unknown error"])[0][:300]
    return None
