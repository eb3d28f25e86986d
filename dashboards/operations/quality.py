"""Section on the quality gates: what did not pass, the trend, and every gate."""

from __future__ import annotations

from datetime import timedelta

import streamlit as st

from dashboards import REPORT_PATH, charts
from dashboards.frame import OUTCOMES, PlatformPage, chart, column, moments, nothing, numbers, tile
from dashboards.queries import operations

SHOWN = timedelta(days=30)


def draw(page: PlatformPage) -> None:
    """Draw what did not pass, the trend, and every gate."""
    now = page.now
    suites = page.trust.outcomes
    if not suites:
        nothing("No quality gate has run yet: `searchflow validate` runs all of them.")
        return
    with tile(page, "What did not pass", "ops.validation_results", key="problems") as drawn:
        problems = operations.problems(page.reading)
        if problems:
            drawn.table(
                [row | {"outcome": OUTCOMES.get(row["outcome"], row["outcome"])} for row in problems],
                {
                    "outcome": column("Outcome"),
                    "suite": column("Table"),
                    "sentence": column("What should hold", width="large"),
                    "observed": column("Seen"),
                    "unexpected_count": numbers("Rows"),
                },
                alt="Checks that did not pass",
            )
        else:
            st.markdown("Every check of the newest runs passed.")
    st.markdown(f"[The report in plain words]({REPORT_PATH.removeprefix('/')}): since when, and what it concerns.")
    trend = operations.quality_by_run(page.reading, now - SHOWN)
    with tile(
        page,
        "Checks that passed, over time",
        "ops.validation_results",
        key="quality-trend",
        about="Share of the checks of each hour, in the last 30 days.",
    ) as drawn:
        drawn.shows(trend, {"hour": "Hour (UTC)", "checks": "Checks", "passed": "Passed", "failed": "Failed"})
        chart(
            charts.lines(
                {"Passed": [(row["hour"], 100 * row["share"]) for row in trend]},
                suffix="%",
                tooltip="%.1f%%",
                highest=100,
            ),
            alt="Share of checks that passed, by hour",
            height=200,
            key="quality-chart",
        )
    held = {row["suite"]: row for row in operations.quarantined(page.reading)}
    with tile(
        page, "All gates, their newest run", "ops.validation_results", "ops.validated_tables", key="gates"
    ) as drawn:
        drawn.table(
            [
                {
                    "suite": suite.suite,
                    "outcome": OUTCOMES.get(suite.outcome, suite.outcome),
                    "checks": suite.checks,
                    "warned": suite.warned,
                    "failed": suite.failed + suite.crashed,
                    "rows": held.get(suite.suite, {}).get("rows_in"),
                    "held": held.get(suite.suite, {}).get("rows_quarantined"),
                    "checked_at": suite.checked_at,
                }
                for suite in suites
            ],
            {
                "suite": column("Table", width="medium"),
                "outcome": column("Outcome"),
                "checks": numbers("Checks"),
                "warned": numbers("Warnings"),
                "failed": numbers("Failed"),
                "rows": numbers("Rows checked"),
                "held": numbers("In quarantine", help="Rows that break a critical check: not sent to any destination."),
                "checked_at": moments("Checked (UTC)"),
            },
            alt="Newest outcome of each quality gate",
            height=520 if len(suites) > 14 else "auto",
        )
