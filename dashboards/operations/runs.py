"""Section on runs: stages, flows and models, their newest runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dashboards import formats, schedule
from dashboards.frame import PlatformPage, column, nothing, numbers, tile
from dashboards.queries import operations
from dashboards.source import current_settings


def draw(page: PlatformPage, stages: list[dict[str, Any]]) -> None:
    """Draw the runs of stages, flows and models."""
    now = page.now
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
    """Draw what the orchestration says; it lives in another server, so this may be unknown."""
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
