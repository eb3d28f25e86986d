"""Validation flow: it is known which data can be trusted. Every suite's outcome is in `ops.validation_results`, and the
report is built.

Runs after each transformation in the pipeline, and every fifteen minutes by itself.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.support import link_artifact, models_at_rest, stage, table_artifact, utc_now
from searchflow.errors import GateFailed
from searchflow.progress import progress
from searchflow.settings import load_settings


@task(cache_policy=NO_CACHE, task_run_name="validate-{selection}")
def run_suites(selection: str, now: datetime, report: bool) -> Any:
    """Run the suites of `selection` (a group, a suite, or `all`)."""
    from expectations import validate  # imports Great Expectations: 3 s, only here

    settings = load_settings()
    with models_at_rest(settings), progress(f"validating {selection}") as bar:

        def on_progress(suite: str, done: int, total: int) -> None:
            bar.update(done=done, total=total)

        return validate(settings, selection, now=now, on_progress=on_progress, build_report=report)


@task(cache_policy=NO_CACHE)
def publish_outcomes(outcomes: Any, selection: str) -> dict[str, Any]:
    """Leave a table of outcomes, the link to the report, and a log line for each suite that does not pass."""
    log = get_run_logger()
    rows = [
        {
            "suite": suite.suite,
            "outcome": suite.outcome,
            "passed": suite.passed,
            "failed": suite.failed,
            "warned": suite.warned,
        }
        for suite in outcomes.suites
    ]
    for suite in outcomes.suites:
        for problem in suite.problems():
            log.warning("%s: %s", suite.suite, problem)
    table_artifact("quality-outcomes", rows, f"Quality suites: {selection}")
    settings = load_settings()
    dashboards = (settings.dashboards_url or f"http://127.0.0.1:{settings.dashboards_port}").rstrip("/")
    link_artifact(
        "quality-report",
        f"{dashboards}/reports/quality/index.html",  # a page of Prefect's may not lead to a file
        "The data-quality report",
        f"What was checked, in plain words. While the dashboards do not run, open {outcomes.report_path}.",
    )
    return {row["suite"]: {name: row[name] for name in ("outcome", "passed", "failed", "warned")} for row in rows}


@flow(name="validation")
def check(selection: str = "all", require: bool = False, report: bool = True) -> dict[str, Any]:
    """Run suites and build the report. With `require`, a suite that fails or breaks fails the run.

    Raises:
        GateFailed: with `require`, names the suites.
    """
    settings = load_settings()
    with stage(settings, "validation") as noted:
        found = run_suites(selection, utc_now(), report)
        checked = [suite.rows for suite in found.suites if suite.rows is not None]
        noted.rows_in, noted.rows_out = sum(rows.rows_in for rows in checked), sum(rows.passed for rows in checked)
        noted.rejected = sum(rows.quarantined for rows in checked)
        outcomes = publish_outcomes(found, selection)
        blocked = sorted(suite for suite, outcome in outcomes.items() if outcome["outcome"] in ("fail", "error"))
        if require and blocked:
            raise GateFailed(
                f"The quality gate is closed by {', '.join(blocked)}. `searchflow validate {blocked[0]}` shows what "
                "failed; syncs that depend on it wait."
            )
    return outcomes
