"""The five outcomes of a check and of a suite.

Great Expectations knows two: a check that crashed looks like one that failed, and a failed warning like a failed
critical. A gate must tell them apart, because a crash says nothing about the data. Between a warning and a failure
stands quarantine: single rows break a critical check, and these rows, not the table, are kept from being sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """The outcome of a check, a suite or a run, the worst last."""

    PASS = "pass"  # noqa: S105  (not a password)
    WARN = "warn"
    QUARANTINE = "quarantine"
    FAIL = "fail"
    ERROR = "error"

    @property
    def blocks(self) -> bool:
        """Return whether nothing that depends on the table may leave: it failed, or the check crashed."""
        return self in (Outcome.FAIL, Outcome.ERROR)


_ORDER = list(Outcome)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the worst of several outcomes; pass when there are none."""
    return max(outcomes, key=_ORDER.index, default=Outcome.PASS)


def of_check(*, success: bool, crashed: bool, severity: str) -> Outcome:
    """Return the outcome of one check.

    >>> of_check(success=False, crashed=False, severity="warning")
    <Outcome.WARN: 'warn'>
    """
    if crashed:
        return Outcome.ERROR
    if success:
        return Outcome.PASS
    return Outcome.FAIL if severity == "critical" else Outcome.WARN


def crash_message(exception_info: Mapping[str, Any] | None) -> str | None:
    """Return what crashed, in one line that shows no data, or None when nothing did.

    The information comes in two shapes: flat, or keyed by the metric that raised. Errors about names are told as they
    are; errors about values quote the value, which may be anything a client sent, so only their kind is told.
    """
    info = exception_info or {}
    entries = [info, *[value for value in info.values() if isinstance(value, Mapping)]]
    for entry in entries:
        if entry.get("raised_exception"):
            return _without_values(str(entry.get("exception_message") or ""))
    return None


def without_values(exception_info: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the information about an exception as it may be kept and shown."""
    message = crash_message(exception_info)
    return {"raised_exception": message is not None, "exception_message": message, "exception_traceback": None}


_ABOUT_NAMES = re.compile(r"(Catalog|Binder|Parser) Error: [^\n]*")
_KIND = re.compile(r"\b([A-Z][A-Za-z-]+(?: [A-Za-z-]+)?) Error\b")


def _without_values(message: str) -> str:
    named = _ABOUT_NAMES.search(message)
    if named:
        return named[0].strip()[:300]
    if 'column "' in message and "BatchData" in message:  # a column is missing, in the words of Great Expectations
        return message.strip().splitlines()[0][:300]
    kind = _KIND.search(message)
    return f"{kind[0] if kind else 'An error'} in the check's SQL; the message is left out, it may quote data"
