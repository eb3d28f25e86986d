"""Retention of the log of syncs, so that it does not grow for ever: what is older than SEARCHFLOW_LEDGER_DAYS leaves
it.

What a destination holds (`sent`) stays, without the log's entry of who wrote it and what was there before; of batches the
last of each sync stays, because numbers go on from it. Undo refuses runs from before the horizon, which is moved first:
what was removed halfway is never restored. Rows that a sync is writing are left to the next time, so that neither waits
for the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from activations.base import utc
from activations.ledger import Ledger
from activations.sync_files import SYNCS_DIR, sync_names
from searchflow.ops import audit_log
from searchflow.settings import Settings

PORTION = 50_000
"""The number of rows in one transaction."""
OLD = "run_id < %(before)s"
"""The condition of an old run: ids of runs begin with the time, and their index is small."""
STEPS = {
    "rows": ("DELETE FROM activation.row_log", OLD),
    "last_rows": (
        "UPDATE activation.sent SET kind = NULL, before = NULL, before_hash = NULL",
        f"{OLD} AND kind IS NOT NULL",
    ),
    "batches": (
        "DELETE FROM activation.batches",
        f"{OLD} AND sequence < (SELECT max(n.sequence) FROM activation.batches n WHERE n.sync = old.sync)",
    ),
    # Of a sync that is still there they are in doubt until its next run, however long that takes.
    "unfinished": ("DELETE FROM activation.in_flight", f"{OLD} AND sync <> ALL(%(syncs)s)"),
}


@dataclass(frozen=True)
class Pruned:
    """Counts of what left the log."""

    rows: int = 0  # of the log, wherever they were
    batches: int = 0
    unfinished: int = 0  # batches that killed runs of former syncs had set out to write


def prune_log(settings: Settings, *, now: datetime, folder: Path = SYNCS_DIR) -> Pruned:
    """Remove what is older than the setting says. Safe beside syncs; killed and run again, it goes on."""
    kept_from = utc(now) - timedelta(days=settings.ledger_days)
    with Ledger(settings) as ledger:
        ledger.prepare()
        ledger.keep_from(kept_from)
        facts = {"before": f"{kept_from:%Y%m%dT%H%M%S}", "syncs": sync_names(folder)}
        gone = {name: ledger.in_portions(*step, facts, PORTION) for name, step in STEPS.items()}
    found = Pruned(gone["rows"] + gone["last_rows"], gone["batches"], gone["unfinished"])
    if found.rows:
        audit_log.append(
            settings, "trim", "sync log", rows=found.rows, detail=f"runs before {kept_from:%Y-%m-%d %H:%M}"
        )
    return found
