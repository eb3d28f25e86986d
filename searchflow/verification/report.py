"""The report: what a verification says about each check."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class VerificationCheck:
    """One comparison. `difference` counts what disagrees; `explained` is how much of it the key or the state explains."""

    check: str
    expected: int | None
    found: int | None
    difference: int = 0
    explained: int = 0
    why: str = ""

    @property
    def passed(self) -> bool:
        """Return True when nothing is left that the key does not explain."""
        return self.difference == self.explained


@dataclass
class Report:
    """All checks, as of the moments they hold for, and how far attribution is from the true causes."""

    key: str
    runs: list[dict[str, Any]]
    transformed_at: datetime | None
    checks: list[VerificationCheck]
    causes: list[dict[str, Any]] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Return True when every check passed."""
        return all(check.passed for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a dictionary for `--json`."""
        document = asdict(self) | {"passed": self.passed}
        document["checks"] = [asdict(check) | {"passed": check.passed} for check in self.checks]
        return document
