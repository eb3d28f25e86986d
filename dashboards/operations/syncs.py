"""Section on syncs: what was sent, and what destinations hold."""

from __future__ import annotations

from datetime import timedelta

from dashboards import charts, formats
from dashboards.frame import PlatformPage, chart, column, nothing, numbers, tile
from dashboards.queries import operations

SHOWN = timedelta(days=30)


def draw(page: PlatformPage) -> None:
    """Draw the newest runs, drift, and rows sent by day."""
    now = page.now
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
    with tile(
        page,
        "Drift, at the newest reconciliation",
        "ops.reconciliation_runs",
        key="drift",
        about="What destinations hold beside what they should hold.",
    ) as drawn:
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
    with tile(page, "Rows sent, by day", "ops.sync_runs", key="sent") as drawn:
        daily = operations.sync_history(page.reading, now - SHOWN)
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
