"""Findings that the report is about: the newest result of every table, since when something is wrong, and the runs
before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from expectations.outcome import Outcome, worst
from expectations.quarantine import Split
from expectations.suite import Suite

RUNS_SHOWN = 30
"""The number of runs in the trend; the strip beside a table shows the newest dozen of them."""


@dataclass(frozen=True)
class CheckFinding:
    """One check of the newest run of its table. `since`: the first run of the present series in which it broke."""

    name: str
    severity: str
    sentence: str
    outcome: Outcome
    observed: str
    since: datetime | None


@dataclass(frozen=True)
class SuiteRun:
    """One earlier run of one suite."""

    run_id: str
    checked_at: datetime
    outcome: Outcome
    passed: int
    total: int


@dataclass(frozen=True)
class TableFindings:
    """Everything about one table. `runs`: the oldest first; empty when the table was never checked."""

    suite: Suite
    findings: tuple[CheckFinding, ...]
    runs: tuple[SuiteRun, ...]
    page: str | None
    rows: Split | None = None

    @property
    def outcome(self) -> Outcome | None:
        """Return the outcome of the newest run; None when there was none."""
        return self.runs[-1].outcome if self.runs else None

    @property
    def checked_at(self) -> datetime | None:
        """Return when the newest run was, in UTC."""
        return self.runs[-1].checked_at if self.runs else None

    @property
    def problems(self) -> list[CheckFinding]:
        """Return the findings that do not hold, the worst first."""
        wrong = [finding for finding in self.findings if finding.outcome is not Outcome.PASS]
        return sorted(wrong, key=lambda finding: list(Outcome).index(finding.outcome), reverse=True)


def read(connection: duckdb.DuckDBPyConnection, suites: Sequence[Suite], pages: dict[str, str]) -> list[TableFindings]:
    """Return the findings of each suite, from `ops.validation_results`; `pages` are their Data Docs."""
    runs, findings, rows = _runs(connection), _newest(connection), _rows(connection)
    return [
        TableFindings(
            suite,
            tuple(_in_order(suite, findings.get(suite.name, []))),
            tuple(runs.get(suite.name, [])),
            pages.get(suite.name),
            rows.get(suite.name),
        )
        for suite in suites
    ]


def _rows(connection: duckdb.DuckDBPyConnection) -> dict[str, Split]:
    """Return suite -> how many rows passed its newest run, and how many are in quarantine."""
    rows = connection.execute(
        """
        SELECT suite, rows_in, rows_passed, rows_quarantined FROM ops.validated_tables
        QUALIFY row_number() OVER (PARTITION BY suite ORDER BY checked_at DESC, run_id DESC) = 1
        """
    ).fetchall()
    return {suite: Split(*counts) for suite, *counts in rows}


def _in_order(suite: Suite, findings: list[CheckFinding]) -> list[CheckFinding]:
    """Sort findings as in the suite's file: what matters most stands first there."""
    places = {check.name: place for place, check in enumerate(suite.checks)}
    return sorted(findings, key=lambda finding: places.get(finding.name, -1))


def _runs(connection: duckdb.DuckDBPyConnection) -> dict[str, list[SuiteRun]]:
    rows = connection.execute(
        """
        SELECT suite, run_id, max(checked_at) AS checked_at, list(DISTINCT outcome), count(*) FILTER (WHERE success),
          count(*)
        FROM ops.validation_results GROUP BY suite, run_id
        QUALIFY row_number() OVER (PARTITION BY suite ORDER BY max(checked_at) DESC, run_id DESC) <= ?
        ORDER BY suite, checked_at, run_id
        """,
        [RUNS_SHOWN],
    ).fetchall()
    runs: dict[str, list[SuiteRun]] = {}
    for suite, run_id, checked_at, outcomes, passed, total in rows:
        outcome = worst(Outcome(text) for text in outcomes)
        runs.setdefault(suite, []).append(SuiteRun(run_id, checked_at, outcome, passed, total))
    return runs


def _newest(connection: duckdb.DuckDBPyConnection) -> dict[str, list[CheckFinding]]:
    rows = connection.execute(
        """
        WITH runs AS (
          SELECT suite, run_id, row_number() OVER (PARTITION BY suite ORDER BY max(checked_at), run_id) AS place
          FROM ops.validation_results GROUP BY suite, run_id
        ), placed AS (
          SELECT results.*, runs.place, max(runs.place) OVER (PARTITION BY suite) AS newest
          FROM ops.validation_results AS results JOIN runs USING (suite, run_id)
        ), broken AS (
          SELECT suite, expectation, min(checked_at) AS since FROM (
            SELECT *, max(place) FILTER (WHERE success) OVER (PARTITION BY suite, expectation) AS last_good FROM placed
          ) WHERE place > coalesce(last_good, 0) GROUP BY suite, expectation
        )
        SELECT suite, expectation, severity, sentence, outcome, observed, since
        FROM placed LEFT JOIN broken USING (suite, expectation) WHERE place = newest
        """
    ).fetchall()
    findings: dict[str, list[CheckFinding]] = {}
    for suite, name, severity, sentence, outcome, observed, since in rows:
        findings.setdefault(suite, []).append(
            CheckFinding(name, severity, sentence, Outcome(outcome), observed or "", since)
        )
    return findings
