"""Operations: is everything running, is it fresh, and is anything lost?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import streamlit as st

from dashboards import formats
from dashboards.frame import PlatformPage, open_platform_page
from dashboards.operations import audit, freshness, letters, quality, runs, streams, syncs
from dashboards.queries import operations, trust

RECENT = timedelta(hours=24)
TOLD = 5
"""The number of broken levels that are told at the top; the section Freshness has all of them."""


def render(page: PlatformPage) -> None:
    """Draw five figures, the accounts, then one section at a time: only the chosen one is read and drawn."""
    accounts = operations.accounts(page.reading)
    stages = operations.stages(page.reading, page.now - RECENT)
    levels = operations.levels(page.reading) if operations.LEVELS in page.reading.tables() else []
    _tiles(page, accounts, stages, levels)
    if accounts.holds:
        st.success(f"✓ Nothing lost, nothing counted twice: {accounts.sentence()}.")
    else:
        st.error(f"✕ The accounts do not add up: {accounts.sentence()}. Run `searchflow status`.")
    for row in [row for row in levels if row["state"] == "broken"][:TOLD]:
        st.error(
            f"✕ **{formats.label(row['level'])}** is not kept for {formats.plain(row['target'] or 'the platform')} "
            f"since {formats.moment(row['since'])}: {formats.plain(row['sentence'])}"
        )
    sections: dict[str, Callable[[], None]] = {
        "Runs": lambda: runs.draw(page, stages),
        "Streams": lambda: streams.draw(page),
        "Freshness": lambda: freshness.draw(page, levels),
        "Quality": lambda: quality.draw(page),
        "Dead letters": lambda: letters.draw(page),
        "Syncs": lambda: syncs.draw(page),
        "Audit": lambda: audit.draw(page),
    }
    chosen = st.segmented_control(
        "Section",
        list(sections),
        default="Runs",
        required=True,
        key="section",
        bind="query-params",
        label_visibility="collapsed",
    )
    sections[chosen or "Runs"]()


def _tiles(page: PlatformPage, accounts: Any, stages: list[dict[str, Any]], levels: list[dict[str, Any]]) -> None:
    """Draw each figure with words and the stamp of what it is read from."""
    now, suites = page.now, page.trust.outcomes
    last = operations.last_commit(page.reading)
    late = operations.late_events(page.reading)
    failures = sum(row["failures"] for row in stages)
    passed = sum(suite.outcome in ("pass", "warn") for suite in suites)
    known = [row for row in levels if row["state"] != "unknown"]
    tiles = [
        (
            "Last events stored",
            formats.age(now - last, short=True) if last else formats.MISSING,
            formats.moment(last) if last else "nothing yet",
            "ops.ingestion_batches",
        ),
        (
            "Events stored",
            formats.count(accounts.stored),
            f"{formats.count(late)} of them arrived late",
            "ops.ingestion_batches",
        ),
        (
            "Runs in 24 hours",
            formats.count(sum(row["runs"] for row in stages)),
            "none failed" if not failures else f"{formats.plural(failures, 'run')} failed",
            "ops.stage_runs",
        ),
        (
            "Quality gates passed",
            f"{passed} of {len(suites)}" if suites else formats.MISSING,
            _newest_check(suites, now),
            "ops.validated_tables",
        ),
    ]
    if levels:
        tiles.append(
            (
                "Service levels kept",
                f"{sum(row['state'] == 'kept' for row in known)} of {len(known)}",
                f"checked {formats.age(now - max(row['checked_at'] for row in levels))}"
                + (f", {len(levels) - len(known)} unknown" if len(known) < len(levels) else ""),
                operations.LEVELS,
            )
        )
    with st.grid(len(tiles), gap="small", min_column_width=155):
        for label, value, words, table in tiles:
            stamp = page.trust.stamp(table)
            key = f"tile-{label.lower().replace(' ', '-')}-figure"
            with st.container(border=True, gap="xxsmall", height="stretch", key=key):
                st.metric(label, value)
                st.caption(f"{words}  \n{stamp.short}", help=stamp.details)


def _newest_check(suites: Sequence[trust.SuiteOutcome], now: datetime) -> str:
    return f"checked {formats.age(now - max(suite.checked_at for suite in suites))}" if suites else "not checked yet"


render(open_platform_page("Operations", about="What came in, what ran, how fresh it is"))
