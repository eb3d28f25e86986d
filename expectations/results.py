"""Results of a run: check by check, suite by suite, and whether the gate is open."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from expectations.outcome import Outcome, worst
from expectations.quarantine import Split
from searchflow.errors import GateFailed


@dataclass(frozen=True)
class CheckResult:
    """The result of one check. `observed` is for people and shows no personal value."""

    name: str
    column: str | None
    severity: str
    sentence: str
    outcome: Outcome
    observed: str
    unexpected_count: int | None


@dataclass(frozen=True)
class SuiteResult:
    """The result of one suite. `message` is set when the table could not be checked at all."""

    suite: str
    group: str
    title: str
    outcome: Outcome
    checks: tuple[CheckResult, ...]
    syncs: tuple[str, ...]
    message: str = ""
    rows: Split | None = None
    scope: str = "all rows"
    seconds: float = 0.0
    fingerprint: str = ""

    def _count(self, *outcomes: Outcome) -> int:
        return sum(check.outcome in outcomes for check in self.checks)

    @property
    def passed(self) -> int:
        """Return how many checks hold."""
        return self._count(Outcome.PASS)

    @property
    def warned(self) -> int:
        """Return how many checks do not hold and block nothing: warnings, and single rows in quarantine."""
        return self._count(Outcome.WARN, Outcome.QUARANTINE)

    @property
    def quarantined(self) -> int:
        """Return how many rows are left out of what is sent."""
        return self.rows.quarantined if self.rows else 0

    @property
    def failed(self) -> int:
        """Return how many checks close the gate: critical ones that do not hold, and those that crashed."""
        return self._count(Outcome.FAIL, Outcome.ERROR) + bool(self.message)

    @property
    def errors(self) -> int:
        """Return how many of the failed checks crashed."""
        return self._count(Outcome.ERROR) + bool(self.message)

    def problems(self) -> list[str]:
        """Return one line for each check that does not hold, the worst first."""
        if self.message:
            return [self.message]
        wrong = [check for check in self.checks if check.outcome is not Outcome.PASS]
        wrong.sort(key=lambda check: not check.outcome.blocks)
        return [f"{check.outcome}: {check.sentence} ({check.observed})" for check in wrong]

    def reason(self) -> str:
        """Return why the gate is closed, in one line; empty when it is open."""
        if self.message:
            return self.message
        for check in self.checks:
            if check.outcome.blocks:
                more = f" (and {self.failed - 1} more)" if self.failed > 1 else ""
                said = "could not be checked" if check.outcome is Outcome.ERROR else "does not hold"
                return f"{self.suite}: “{check.sentence}” {said}: {check.observed}{more}"
        return ""


@dataclass(frozen=True)
class ValidationReport:
    """The results of one run."""

    run_id: str
    selection: str
    checked_at: datetime
    suites: tuple[SuiteResult, ...]
    report_path: Path
    snapshot: int = 0

    @property
    def outcome(self) -> Outcome:
        """Return the worst outcome of all suites."""
        return worst(suite.outcome for suite in self.suites)

    @property
    def blocking(self) -> list[SuiteResult]:
        """Return the suites that failed or could not be checked."""
        return [suite for suite in self.suites if suite.outcome.blocks]

    @property
    def blocked_syncs(self) -> set[str]:
        """Return the syncs that must not run: a table that they depend on failed."""
        return {sync for suite in self.blocking for sync in suite.syncs}

    def gate(self, sync: str | None = None) -> None:
        """Pass, or raise a GateFailed: for one sync, or for everything that was checked.

        Raises:
            GateFailed: names the first table and check that failed.
        """
        blocking = [suite for suite in self.blocking if sync is None or sync in suite.syncs]
        if blocking:
            others = ", ".join(suite.suite for suite in blocking[1:])
            more = f" Also closed: {others}." if others else ""
            what = f"{sync} is blocked" if sync else "The quality gate is closed"
            raise GateFailed(
                f"{what}: {blocking[0].reason()}.{more} The quality report says more; correct the data, then run "
                f"`searchflow validate {blocking[0].suite}`."
            )

    def counts(self) -> dict[str, dict[str, int]]:
        """Return counts by suite: passed, failed, warned."""
        return {
            suite.suite: {"passed": suite.passed, "failed": suite.failed, "warned": suite.warned}
            for suite in self.suites
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the report as `--json` and the run's file write it."""
        return {
            "run_id": self.run_id,
            "selection": self.selection,
            "checked_at": self.checked_at.isoformat(),
            "outcome": self.outcome,
            "blocked_syncs": sorted(self.blocked_syncs),
            "report": str(self.report_path),
            "suites": [
                {
                    **asdict(suite),
                    "passed": suite.passed,
                    "failed": suite.failed,
                    "warned": suite.warned,
                    "errors": suite.errors,
                    "quarantined": suite.quarantined,
                }
                for suite in self.suites
            ],
        }
