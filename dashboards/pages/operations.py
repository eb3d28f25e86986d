"""Operations: is everything running, is it fresh, and is anything lost?"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import streamlit as st

from dashboards import charts, formats, theme
from dashboards.frame import Visit, chart, column, moments, nothing, numbers, open_platform_page, table
from dashboards.queries import operations, trust

RECENT = timedelta(hours=24)
ARRIVALS = timedelta(hours=48)
OUTCOMES = {
    "pass": "✓ passed",
    "warn": "! warnings",
    "quarantine": "! rows held back",
    "fail": "✕ failed",
    "error": "✕ could not run",
}
KINDS = {
    "search": ("Searches", theme.BLUE),
    "click": ("Clicks", theme.SKY),
    "conversion": ("Bookings", theme.ORANGE),
}


def render(page: Visit) -> None:
    """Four figures, what came in, then the details behind tabs."""
    now = page.now.replace(tzinfo=None)
    accounts = operations.accounts(page.reading)
    suites = trust.outcomes(page.reading)
    stages = operations.stages(page.reading, now - RECENT)
    _tiles(page, now, accounts, stages, suites)
    if accounts.holds:
        st.success(f"✓ Nothing lost, nothing counted twice: {accounts.sentence()}.")
    else:
        st.error(f"✕ The accounts do not add up: {accounts.sentence()}. Run `searchflow status`.")
    _arrivals(page, now)
    running, fresh, quality, letters, syncs = st.tabs(["Runs", "Freshness", "Quality", "Dead letters", "Syncs"])
    with running:
        _runs(page, stages, now)
    with fresh:
        _freshness(page, now)
    with quality:
        _quality(page, suites)
    with letters:
        _letters(page, now)
    with syncs:
        _syncs(page, now)


def _tiles(
    page: Visit, now: datetime, accounts: Any, stages: list[dict[str, Any]], suites: list[trust.SuiteOutcome]
) -> None:
    last = operations.last_commit(page.reading)
    late = operations.late_events(page.reading)
    failures = sum(row["failures"] for row in stages)
    runs = sum(row["runs"] for row in stages)
    passed = sum(suite.outcome in ("pass", "warn") for suite in suites)
    tiles = (
        (
            "Last events stored",
            formats.age(now - last) if last else formats.MISSING,
            formats.moment(last) if last else "nothing yet",
        ),
        ("Events stored", formats.count(accounts.stored), f"{formats.count(late)} of them arrived late"),
        (
            "Runs in 24 hours",
            formats.count(runs),
            "none failed" if not failures else f"{formats.plural(failures, 'run')} failed",
        ),
        (
            "Quality gates passed",
            f"{passed} of {len(suites)}" if suites else formats.MISSING,
            _newest_check(suites, now),
        ),
    )
    with st.grid(4, gap="small", min_column_width=155):
        for label, value, words in tiles:
            st.metric(label, value, delta=words, delta_color="off", delta_arrow="off", border=True, height="stretch")


def _newest_check(suites: list[trust.SuiteOutcome], now: datetime) -> str:
    return f"checked {formats.age(now - max(suite.checked_at for suite in suites))}" if suites else "not checked yet"


def _arrivals(page: Visit, now: datetime) -> None:
    st.subheader("Events received, by hour", anchor=False)
    rows = operations.arrivals(page.reading, now - ARRIVALS)
    if not rows:
        nothing("No event came in during the last 48 hours. `searchflow up` starts live traffic and ingestion.")
        return
    last = now.replace(minute=0, second=0, microsecond=0)
    hours = [last - timedelta(hours=n) for n in reversed(range(ARRIVALS // timedelta(hours=1)))]
    counts = {(row["hour"], row["event_type"]): row["received"] for row in rows}
    chart(
        charts.stacked_hours(hours, KINDS, counts),
        alt="Events received by hour in the last 48 hours",
        height=220,
        key="arrivals",
    )


def _runs(page: Visit, stages: list[dict[str, Any]], now: datetime) -> None:
    if not stages:
        nothing("No stage has run yet. `searchflow demo` runs all of them once.")
    else:
        st.markdown("**Stages**, their newest run")
        table(
            [
                row | {"ago": formats.age(now - row["started_at"]), "stage": formats.label(row["stage"])}
                for row in stages
            ],
            {
                "stage": column("Stage", width="medium"),
                "status": column("Status"),
                "ago": column("Started"),
                "duration_s": numbers("Seconds", "%.1f"),
                "typical_s": numbers("Typical", "%.1f", help="Median of the last 24 hours, in seconds."),
                "rows_in": numbers("Rows in"),
                "rows_out": numbers("Rows out"),
                "rejected": numbers("Rejected"),
                "failures": numbers("Failed in 24 h"),
                "error": column("Error", width="large"),
            },
            alt="Newest run of each stage",
        )
    rows = operations.models(page.reading)
    if rows:
        st.markdown("**Models**, their newest run, the slowest first")
        table(
            [row | {"ago": formats.age(now - row["started_at"])} for row in rows],
            {
                "model": column("Model", width="medium"),
                "status": column("Status"),
                "ago": column("Started"),
                "duration_s": numbers("Seconds", "%.2f"),
                "rows": numbers("Rows"),
                "audits_passed": numbers("Audits passed"),
                "audits_failed": numbers("Audits failed"),
                "error": column("Error", width="large"),
            },
            alt="Newest run of each model",
            height=420 if len(rows) > 11 else "auto",
        )


def _freshness(page: Visit, now: datetime) -> None:
    rows = operations.freshness(page.reading) if "ops.freshness" in page.reading.tables() else []
    if not rows:
        nothing("Freshness is known after the first transformation: run `searchflow transform`.")
        return
    table(
        [row | {"age": formats.age(now - row["last_loaded_at"]) if row["last_loaded_at"] else "never"} for row in rows],
        {
            "table_name": column("Table", width="medium"),
            "age": column("Last written"),
            "last_loaded_at": moments("At (UTC)"),
            "last_event_ts": moments("Newest event or end of what it covers (UTC)"),
        },
        alt="When each table was last written, the oldest first",
        height=520 if len(rows) > 14 else "auto",
    )


def _quality(page: Visit, suites: list[trust.SuiteOutcome]) -> None:
    if not suites:
        nothing("No quality gate has run yet: `searchflow validate` runs all of them.")
        return
    problems = operations.problems(page.reading)
    if problems:
        st.markdown("**What did not pass**")
        table(
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
    st.markdown("**All gates**, their newest run")
    table(
        [
            {
                "suite": suite.suite,
                "outcome": OUTCOMES.get(suite.outcome, suite.outcome),
                "checks": suite.checks,
                "warned": suite.warned,
                "failed": suite.failed + suite.crashed,
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
            "checked_at": moments("Checked (UTC)"),
        },
        alt="Newest outcome of each quality gate",
        height=520 if len(suites) > 14 else "auto",
    )


def _letters(page: Visit, now: datetime) -> None:
    rows = operations.dead_letters(page.reading)
    if not rows:
        nothing("No input was ever refused.")
        return
    st.markdown(
        "Inputs that could not be stored, by reason. `searchflow dlq list` shows them, `searchflow dlq replay` tries "
        "them again."
    )
    table(
        [row | {"newest": formats.age(now - row["newest"])} for row in rows],
        {
            "reason_code": column("Reason", width="medium"),
            "open": numbers("Open"),
            "replayed": numbers("Replayed"),
            "discarded": numbers("Discarded"),
            "letters": numbers("In all"),
            "newest": column("Newest"),
        },
        alt="Dead letters by reason",
    )


def _syncs(page: Visit, now: datetime) -> None:
    rows = operations.syncs(page.reading)
    if not rows:
        nothing("Nothing was sent yet: `searchflow activate` runs the syncs.")
        return
    table(
        [row | {"sync": formats.label(row["sync"]), "ago": formats.age(now - row["started_at"])} for row in rows],
        {
            "sync": column("Sync", width="medium"),
            "status": column("Status"),
            "ago": column("Started"),
            "added": numbers("Added"),
            "changed": numbers("Changed"),
            "removed": numbers("Removed"),
            "unchanged": numbers("Unchanged"),
            "rejected": numbers("Rejected"),
            "retried": numbers("Retried"),
            "error": column("Error", width="large"),
        },
        alt="Newest run of each sync",
    )


render(open_platform_page("Operations", about="What came in, what ran, how fresh it is"))
