"""Validation: runs suites and says what came of them. The results go to `ops.validation_results` and to the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import duckdb

from expectations import history, quarantine, scope
from expectations.catalogue import ALL, load_suites
from expectations.outcome import Outcome, crash_message, of_check, without_values, worst
from expectations.quarantine import Split
from expectations.report import building
from expectations.results import CheckResult, SuiteResult, ValidationReport
from expectations.suite import Check, Suite
from searchflow import gates, warehouse
from searchflow.ops import audit_log, record
from searchflow.settings import Settings

OnProgress = Callable[[str, int, int], None]
"""Callback that is called after each suite: its name, how many are done, how many there are."""
BUILT_BY = {"raw": "searchflow up", "ops": "searchflow up"}
"""Schema -> the command that makes its tables; all others are made by the models."""


def validate(
    settings: Settings,
    selection: str = ALL,
    *,
    now: datetime,
    on_progress: OnProgress | None = None,
    build_report: bool = True,
    full: bool = False,
    only: Sequence[str] | None = None,
) -> ValidationReport:
    """Run the suites of a group, or one suite, on one snapshot of the warehouse.

    `full`: look at all rows. `only` names several suites; then `selection` is the name of the run.

    Results are kept in `ops.validation_results` and under `<home>/quality`. The report is built at the end unless
    `build_report` is false (several runs in a row need it only once: call `expectations.build_report` after the last).

    Raises:
        NotFoundError: there is no such group or suite.
        ServiceError: the warehouse does not answer.
    """
    suites = load_suites(selection) if only is None else [suite for name in only for suite in load_suites(name)]
    # Runs sort by their id; the clock only makes it unique and tells runs with the same `now` apart.
    run_id = f"{now.astimezone(UTC):%Y%m%dT%H%M%S}-{time.time_ns() // 1000:x}-{selection}"
    results: list[SuiteResult] = []
    with warehouse.connect(settings) as connection:  # one for all: opening one costs more than most checks
        snapshot = warehouse.snapshot_id(connection)
        for result in _run(settings, connection, suites, now, run_id, snapshot, full):
            results.append(result)
            if on_progress is not None:
                on_progress(result.suite, len(results), len(suites))
        found = ValidationReport(run_id, selection, now, tuple(results), building.report_path(settings), snapshot)
        record.rows(connection, "ops.validation_results", _rows(found))
        record.rows(connection, "ops.validated_tables", _table_rows(found))
    history.keep(settings, run_id, history.SUMMARY, found.as_dict())
    history.prune(settings)
    if build_report:
        building.build_report(settings, now=now)
    return found


def _run(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    suites: Sequence[Suite],
    now: datetime,
    run_id: str,
    snapshot: int,
    full: bool,
) -> Iterator[SuiteResult]:
    from expectations.engine import CheckSession  # imports Great Expectations

    present = _tables(connection)
    with CheckSession(settings, snapshot=snapshot, now=now, run_id=run_id) as session:
        for suite in suites:
            if suite.table not in present:
                yield _not_there(suite)
                continue
            clock = time.monotonic()
            days = None if full else scope.changed_days(connection, suite, now)
            found = session.run(suite, days)
            for result in found["results"]:
                result["exception_info"] = without_values(result.get("exception_info"))
            history.keep(settings, run_id, f"{suite.name}.json", found)
            with session.connection() as pinned:
                rows = quarantine.split(
                    pinned, connection, suite, _broken(suite, found), fill=session.fill(suite), run_id=run_id, now=now
                )
            result = _suite_result(suite, found, rows)
            audit_log.append(settings, "read", suite.table, rows=rows.rows_in, detail=f"quality suite, run {run_id}")
            yield replace(result, scope=days.words if days else scope.WHOLE, seconds=time.monotonic() - clock)


def _broken(suite: Suite, found: Mapping[str, Any]) -> list[Check]:
    """Return the critical checks that did not hold and can name the rows."""
    failed = {
        result["expectation_config"]["meta"]["check"]
        for result in found["results"]
        if not result["success"] and crash_message(result.get("exception_info")) is None
    }
    return [check for check in quarantine.row_checks(suite) if check.name in failed]


def _tables(connection: duckdb.DuckDBPyConnection) -> set[str]:
    rows = connection.execute(
        "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE database_name = $lake UNION ALL "
        "SELECT schema_name || '.' || view_name FROM duckdb_views() WHERE database_name = $lake",
        {"lake": warehouse.CATALOG},
    ).fetchall()
    return {str(row[0]) for row in rows}


def _not_there(suite: Suite) -> SuiteResult:
    command = BUILT_BY.get(suite.table.split(".")[0], "searchflow transform")
    message = f"The table {suite.table} does not exist yet. Run `{command}`, then validate again"
    return SuiteResult(suite.name, suite.group, suite.title, Outcome.ERROR, (), gates.syncs_behind(suite.name), message)


def _suite_result(suite: Suite, found: Mapping[str, Any], rows: Split) -> SuiteResult:
    by_name = {result["expectation_config"]["meta"]["check"]: result for result in found["results"]}
    contained = suite.contained and not rows.too_many
    checks = tuple(_check_result(check, by_name[check.name], contained=contained) for check in suite.checks)
    outcome = worst(check.outcome for check in checks)
    return SuiteResult(
        suite.name,
        suite.group,
        suite.title,
        outcome,
        checks,
        gates.syncs_behind(suite.name),
        rows=rows,
        fingerprint=scope.fingerprint(suite),
    )


def _check_result(check: Check, found: Mapping[str, Any], *, contained: bool) -> CheckResult:
    crash = crash_message(found.get("exception_info"))
    outcome = of_check(success=bool(found["success"]), crashed=crash is not None, severity=check.severity)
    if outcome is Outcome.FAIL and contained and check.rule.broken:
        outcome = Outcome.QUARANTINE
    result = found.get("result") or {}
    unexpected = result.get("unexpected_count")
    return CheckResult(
        name=check.name,
        column=check.rule.column,
        severity=check.severity,
        sentence=check.sentence,
        outcome=outcome,
        observed=crash if crash is not None else observed(check, result, passed=outcome is Outcome.PASS),
        unexpected_count=None if crash is not None or unexpected is None else int(unexpected),
    )


def observed(check: Check, result: Mapping[str, Any], *, passed: bool) -> str:
    """Return what was seen, for people: counts and aggregates, never a value of a row."""
    kind = check.rule.kind
    if kind == "columns":
        mismatched = (result.get("details") or {}).get("mismatched") or {}
        parts = [f"{what}: {', '.join(names)}" for what, names in mismatched.items() if names and not passed]
        return "; ".join(parts) or f"{len(result.get('observed_value') or [])} columns"
    if kind == "row_count":
        return f"{result.get('observed_value', 0):,} rows"
    if kind in ("aggregate", "never"):
        return "none" if passed else _facts(result)
    unexpected = result.get("unexpected_count")
    return f"{_figure(unexpected or 0)} of {_figure(result.get('element_count', 0))} rows"


def _facts(result: Mapping[str, Any]) -> str:
    facts = [f"{name.replace('_', ' ')} {_figure(value)}" for name, value in result["details"]["facts"].items()]
    unexpected = result.get("unexpected_count")
    if unexpected is not None:
        facts.insert(0, f"{_figure(unexpected)} affected")
    return ", ".join(facts) or "affected"


def _figure(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _table_rows(report: ValidationReport) -> list[dict[str, Any]]:
    stamp = report.checked_at.astimezone(UTC).replace(tzinfo=None)
    return [
        {
            "run_id": report.run_id,
            "suite": suite.suite,
            "checked_at": stamp,
            "snapshot_id": report.snapshot,
            "scope": suite.scope,
            "rows_in": suite.rows.rows_in,
            "rows_passed": suite.rows.passed,
            "rows_quarantined": suite.rows.quarantined,
            "duration_s": suite.seconds,
            "fingerprint": suite.fingerprint,
        }
        for suite in report.suites
        if suite.rows is not None
    ]


def _rows(report: ValidationReport) -> list[dict[str, Any]]:
    stamp = report.checked_at.astimezone(UTC).replace(tzinfo=None)
    common = {"run_id": report.run_id, "checked_at": stamp}
    rows = []
    for suite in report.suites:
        if suite.message:
            rows.append(
                {
                    **common,
                    "suite": suite.suite,
                    "table_name": suite.suite,
                    "expectation": "table_exists",
                    "severity": "critical",
                    "success": False,
                    "outcome": str(Outcome.ERROR),
                    "sentence": "The table exists.",
                    "observed": suite.message,
                }
            )
        rows += [
            {
                **common,
                "suite": suite.suite,
                "table_name": suite.suite,
                "expectation": check.name,
                "column_name": check.column,
                "severity": check.severity,
                "success": check.outcome is Outcome.PASS,
                "outcome": str(check.outcome),
                "sentence": check.sentence,
                "observed": check.observed,
                "unexpected_count": check.unexpected_count,
            }
            for check in suite.checks
        ]
    return rows
