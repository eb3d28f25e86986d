"""Operations: is everything running, is it fresh, and is anything lost?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import streamlit as st

from dashboards import REPORT_PATH, charts, formats, schedule, theme
from dashboards.frame import (
    OUTCOMES,
    PlatformPage,
    changes,
    chart,
    column,
    moments,
    nothing,
    numbers,
    open_platform_page,
    tile,
)
from dashboards.queries import operations, trust
from dashboards.source import current_settings

RECENT = timedelta(hours=24)
ARRIVALS = timedelta(hours=48)
QUALITY = timedelta(days=30)
KINDS = {
    "search": ("Searches", theme.BLUE),
    "click": ("Clicks", theme.SKY),
    "conversion": ("Bookings", theme.ORANGE),
}


SECTIONS = {
    "runs": "Runs",
    "streams": "Streams",
    "freshness": "Freshness",
    "quality": "Quality",
    "letters": "Dead letters",
    "syncs": "Syncs",
    "audit": "Audit",
}
"""In the URL -> on the page. Only the chosen one is read and drawn."""
STATES = {"kept": "✓ kept", "broken": "✕ broken", "unknown": "? not known"}


def render(page: PlatformPage) -> None:
    """Four figures, the accounts, then one section at a time."""
    now = page.now
    accounts = operations.accounts(page.reading)
    stages = operations.stages(page.reading, now - RECENT)
    levels = operations.levels(page.reading) if operations.LEVELS in page.reading.tables() else []
    _tiles(page, now, accounts, stages, levels)
    if accounts.holds:
        st.success(f"✓ Nothing lost, nothing counted twice: {accounts.sentence()}.")
    else:
        st.error(f"✕ The accounts do not add up: {accounts.sentence()}. Run `searchflow status`.")
    broken = [row for row in levels if row["state"] == "broken"]
    for row in broken[:5]:
        st.error(
            f"✕ **{formats.plain(row['level'])}** is not kept for {formats.plain(row['target'] or 'the platform')} "
            f"since {formats.moment(row['since'])}: {formats.plain(row['sentence'])}"
        )
    section = st.segmented_control(
        "Section",
        list(SECTIONS),
        default="runs",
        required=True,
        format_func=SECTIONS.__getitem__,
        key="section",
        bind="query-params",
        label_visibility="collapsed",
    )

    def freshness() -> None:
        _freshness(page, levels, now)
        _restatements(page)

    {
        "runs": lambda: _runs(page, stages, now),
        "streams": lambda: _streams(page, now),
        "freshness": freshness,
        "quality": lambda: _quality(page, now),
        "letters": lambda: _letters(page, now),
        "syncs": lambda: _syncs(page, now),
        "audit": lambda: _audit(page),
    }[section or "runs"]()


def _tiles(
    page: PlatformPage, now: datetime, accounts: Any, stages: list[dict[str, Any]], levels: list[dict[str, Any]]
) -> None:
    last = operations.last_commit(page.reading)
    late = operations.late_events(page.reading)
    failures = sum(row["failures"] for row in stages)
    runs = sum(row["runs"] for row in stages)
    suites = page.trust.outcomes
    passed = sum(suite.outcome in ("pass", "warn") for suite in suites)
    kept = sum(row["state"] == "kept" for row in levels)
    tiles = [
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
    ]
    if levels:
        tiles.append(
            (
                "Service levels kept",
                f"{kept} of {len(levels)}",
                f"checked {formats.age(now - max(row['checked_at'] for row in levels))}",
            )
        )
    with st.grid(len(tiles), gap="small", min_column_width=155):
        for label, value, words in tiles:
            st.metric(label, value, delta=words, delta_color="off", delta_arrow="off", border=True, height="stretch")


def _newest_check(suites: Sequence[trust.SuiteOutcome], now: datetime) -> str:
    return f"checked {formats.age(now - max(suite.checked_at for suite in suites))}" if suites else "not checked yet"


def _runs(page: PlatformPage, stages: list[dict[str, Any]], now: datetime) -> None:
    with tile(page, "Stages, their newest run", "ops.stage_runs", key="stages") as drawn:
        if not stages:
            nothing("No stage has run yet. `searchflow demo` runs all of them once.")
        else:
            drawn.table(
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
    _flow_runs(page, now)
    with tile(page, "Models, their newest run, the slowest first", "ops.model_runs", key="models") as drawn:
        rows = operations.models(page.reading)
        if not rows:
            nothing("No model was made yet: run `searchflow transform`.")
            return
        drawn.table(
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


def _flow_runs(page: PlatformPage, now: datetime) -> None:
    """What the orchestration says: it lives in another server, so that this may be unknown."""
    with tile(
        page, "Flow runs", key="flow-runs", about="The newest of the Prefect server, which runs the schedules."
    ) as drawn:
        known = schedule.known(current_settings())
        if not known.answers:
            nothing("No Prefect server answers, so nothing runs by schedule. `searchflow up` starts it.")
            return
        if not known.runs:
            nothing("No flow has run by schedule yet.")
            return
        drawn.table(
            [row | {"ago": formats.age(now - row["started_at"])} for row in known.runs],
            {
                "flow": column("Flow"),
                "state": column("State"),
                "ago": column("Started"),
                "seconds": numbers("Seconds", "%.1f"),
                "late_by": numbers("Late by", "%.0f s", help="How long after its time it began."),
                "run": column("Run", width="medium"),
            },
            alt="Newest flow runs",
            height=320 if len(known.runs) > 8 else "auto",
        )


def _streams(page: PlatformPage, now: datetime) -> None:
    with tile(page, "Events received, by hour", "ops.ingestion_batches", key="arrivals") as drawn:
        rows = operations.arrivals(page.reading, now - ARRIVALS)
        if not rows:
            nothing("No event came in during the last 48 hours. `searchflow up` starts live traffic and ingestion.")
        else:
            last = now.replace(minute=0, second=0, microsecond=0)
            hours = [last - timedelta(hours=n) for n in reversed(range(ARRIVALS // timedelta(hours=1)))]
            counts = {(row["hour"], row["event_type"]): row["received"] for row in rows}
            drawn.shows(rows, {"hour": "Hour (UTC)", "event_type": "Event", "received": "Received"})
            chart(
                charts.stacked_hours(hours, KINDS, counts),
                alt="Events received by hour in the last 48 hours",
                height=220,
                key="arrivals-chart",
            )
    rates = operations.rates(page.reading, now - RECENT)
    left, right = st.columns(2, gap="small")
    for place, name, what, suffix in (
        (left, "Events a second", "rate", ""),
        (right, "Seconds the oldest event waited", "lag", " s"),
    ):
        with (
            place,
            tile(page, name, "ops.ingestion_metrics", key=what, about="The busiest moment of each 5 minutes.") as drawn,
        ):
            if not rates:
                nothing("Nothing was ingested during the last 24 hours.")
                continue
            drawn.shows(rates, {"at": "From (UTC)", "source": "Source", what: name})
            series: dict[str, list[tuple[datetime, float | None]]] = {}
            for row in rates:
                series.setdefault(row["source"].removeprefix("searchflow:events:"), []).append((row["at"], row[what]))
            chart(
                charts.lines(series, suffix=suffix, tooltip=f"%,.1f{suffix}"), alt=name, height=220, key=f"{what}-chart"
            )
    changed = operations.schema_changes(page.reading)
    if changed:
        with tile(page, "What producers changed", "ops.schema_changes", key="schema-changes") as drawn:
            drawn.table(
                changed,
                {
                    "event_type": column("Event"),
                    "field": column("Field", width="medium"),
                    "kind": column("What"),
                    "json_type": column("Type"),
                    "previous_types": column("Types before"),
                    "first_seen_at": moments("First seen (UTC)"),
                    "source": column("Source", width="medium"),
                },
                alt="New fields and changed types, the newest first",
            )


def _freshness(page: PlatformPage, levels: list[dict[str, Any]], now: datetime) -> None:
    if levels:
        with tile(page, "Service levels", operations.LEVELS, key="levels") as drawn:
            drawn.table(
                [
                    row | {"state": STATES.get(row["state"], row["state"]), "since": formats.age(now - row["since"])}
                    for row in levels
                ],
                {
                    "state": column("State"),
                    "level": column("Level", width="medium"),
                    "target": column("Of"),
                    "value": numbers("Now", "%,.2f"),
                    "limit_value": numbers("Limit", "%,.2f"),
                    "unit": column("Unit"),
                    "since": column("Since"),
                    "sentence": column("What people may rely on", width="large"),
                },
                alt="Service levels, the broken ones first",
                height=420 if len(levels) > 11 else "auto",
            )
    with tile(page, "Freshness of each table", "ops.freshness", key="freshness") as drawn:
        rows = operations.freshness(page.reading) if "ops.freshness" in page.reading.tables() else []
        if not rows:
            nothing("Freshness is known after the first transformation: run `searchflow transform`.")
            return
        drawn.table(
            [
                row | {"age": formats.age(now - row["last_loaded_at"]) if row["last_loaded_at"] else "never"}
                for row in rows
            ],
            {
                "table_name": column("Table", width="medium"),
                "age": column("Last written"),
                "last_loaded_at": moments("At (UTC)"),
                "last_event_ts": moments("Newest event or end of what it covers (UTC)"),
            },
            alt="When each table was last written, the oldest first",
            height=520 if len(rows) > 14 else "auto",
        )


def _restatements(page: PlatformPage) -> None:
    """Which figures that people may have read have changed since, and by how much."""
    if operations.RESTATEMENTS not in page.reading.tables():
        return
    with tile(
        page,
        "Key figures that changed after they were shown",
        operations.RESTATEMENTS,
        key="restatements",
        about="Late events restate the days they belong to; docs/guides/late-data.md tells how.",
    ) as drawn:
        rows = operations.restatements(page.reading)
        if not rows:
            nothing("No day was restated yet.")
            return
        drawn.table(
            [row | {"metric": formats.label(row["metric"])} for row in rows],
            {
                "restated_at": moments("Restated (UTC)"),
                "kpi_date": column("Day"),
                "metric": column("Figure", width="medium"),
                "old_value": numbers("Old", "%,.2f"),
                "new_value": numbers("New", "%,.2f"),
                "change": changes("Change", "%+,.2f"),
                "cause": column("Because of"),
                "late_events": numbers("Late events"),
            },
            alt="Restated key figures, the newest first",
            height=360 if len(rows) > 9 else "auto",
        )


def _quality(page: PlatformPage, now: datetime) -> None:
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
    trend = operations.quality_by_run(page.reading, now - QUALITY)
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
                {"Passed": [(row["hour"], 100 * row["share"]) for row in trend]}, suffix="%", tooltip="%.1f%%"
            ),
            alt="Share of checks that passed, by hour",
            height=200,
            key="quality-chart",
        )
    held = {row["suite"]: row for row in operations.held_back(page.reading)}
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
                "held": numbers("Held back", help="Rows in quarantine: not sent to any destination."),
                "checked_at": moments("Checked (UTC)"),
            },
            alt="Newest outcome of each quality gate",
            height=520 if len(suites) > 14 else "auto",
        )


def _letters(page: PlatformPage, now: datetime) -> None:
    rows = operations.dead_letters(page.reading)
    if not rows:
        nothing("No input was ever refused.")
        return
    with tile(
        page,
        "Inputs that could not be stored",
        "raw.dead_letters",
        key="letters",
        about="`searchflow dlq list` shows them, `searchflow dlq replay` tries them again.",
    ) as drawn:
        drawn.table(
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
    daily = operations.letters_by_day(page.reading, now - QUALITY)
    if daily:
        with tile(page, "By day of arrival", "raw.dead_letters", key="letters-by-day") as drawn:
            drawn.shows(daily, {"day": "Day", "reason_code": "Reason", "letters": "Letters"})
            days = sorted({row["day"] for row in daily})
            reasons = sorted({row["reason_code"] for row in daily})
            values = {(row["day"], row["reason_code"]): row["letters"] for row in daily}
            chart(
                charts.stacked_days(days, reasons, values), alt="Dead letters by day", height=220, key="letters-chart"
            )


def _syncs(page: PlatformPage, now: datetime) -> None:
    rows = operations.syncs(page.reading)
    if not rows:
        nothing("Nothing was sent yet: `searchflow activate` runs the syncs.")
        return
    with tile(page, "Syncs, their newest run", "ops.sync_runs", key="syncs") as drawn:
        drawn.table(
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
    left, right = st.columns(2, gap="small")
    with left, tile(page, "Rows sent, by day", "ops.sync_runs", key="sent") as drawn:
        daily = operations.sync_history(page.reading, now - QUALITY)
        drawn.shows(daily, {"day": "Day", "sync": "Sync", "sent": "Rows sent", "rejected": "Rejected", "runs": "Runs"})
        days = sorted({row["day"] for row in daily})
        names = sorted({row["sync"] for row in daily})
        values = {(row["day"], row["sync"]): row["sent"] for row in daily}
        chart(
            charts.stacked_days(days, names, values, labels={name: formats.label(name) for name in names}),
            alt="Rows sent by day",
            height=240,
            key="sent-chart",
        )
    with (
        right,
        tile(
            page,
            "Drift, at the newest reconciliation",
            "ops.reconciliation_runs",
            key="drift",
            about="What destinations hold beside what they should hold.",
        ) as drawn,
    ):
        found = operations.drift(page.reading)
        if not found:
            nothing("No destination was compared yet: `searchflow reconcile` does, and the schedule does nightly.")
        else:
            drawn.table(
                [
                    row | {"sync": formats.label(row["sync"]), "ago": formats.age(now - row["checked_at"])}
                    for row in found
                ],
                {
                    "sync": column("Sync", width="medium"),
                    "ago": column("Compared"),
                    "expected": numbers("Should be"),
                    "missing": numbers("Missing"),
                    "different": numbers("Different"),
                    "unexpected": numbers("Unexpected"),
                    "repaired": numbers("Repaired"),
                },
                alt="Drift of each destination",
            )


def _audit(page: PlatformPage) -> None:
    with tile(
        page,
        "Audit log",
        key="audit",
        about="Who or what read or changed which table: the newest 100 entries. `searchflow audit show` filters them, "
        "`searchflow audit verify` proves that nobody edited one.",
    ) as drawn:
        drawn.table(
            operations.audit_entries(),
            {
                "logged_at": moments("At (UTC)"),
                "actor": column("Who"),
                "process": column("By what"),
                "action": column("Did"),
                "object": column("To what", width="medium"),
                "rows": numbers("Rows"),
                "detail": column("Detail", width="large"),
            },
            alt="Newest entries of the audit log",
            height=520,
        )


render(open_platform_page("Operations", about="What came in, what ran, how fresh it is"))
