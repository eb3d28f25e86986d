"""The engine: gate, plan, limits, delivery, record; and a plan for people, which sends nothing.

Nothing is sent unless the quality suites a sync names last ended with pass or warn, on the data that would be sent, and
unless what would happen stays within its limits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from activations import planner
from activations.delivery import OnProgress
from activations.gate import Gate, verdict_of
from activations.ledger import Ledger, attach
from activations.planner import Plan
from activations.retry import Retries
from activations.run import Look, Run, SyncResult, new_run_id, snapshot, verdicts
from activations.sync_files import SYNCS_DIR, load_sync
from searchflow import warehouse
from searchflow.settings import Settings

SAMPLES = 5


def plan_sync(
    settings: Settings,
    name: str,
    *,
    now: datetime,
    gate: Gate | None = None,
    samples: int = SAMPLES,
    retry_rejected: bool = False,
    folder: Path = SYNCS_DIR,
) -> Plan:
    """Return what `run_sync` would do, with sample rows (personal fields masked). Writes nothing, sends nothing.

    Raises:
        NotFoundError: no such sync.
        UsageError: its model is not there yet.
    """
    sync = load_sync(name, folder)
    with Ledger(settings) as ledger, closing(warehouse.connect(settings, read_only=True)) as connection:
        ledger.prepare()
        attach(connection, settings)
        with snapshot(connection):
            plan = Look(connection, ledger, sync, now, gate, retry_rejected).plan(insist=False)
            planner.stage(connection, sync)
        keys = planner.sample_keys(connection, samples)
        shown = planner.sample_rows(connection, sync, ledger.rows(sync, keys), samples)
    return replace(plan, samples=tuple(shown))


def stale_suites(settings: Settings, names: Sequence[str], folder: Path = SYNCS_DIR) -> list[str]:
    """Return suites, and groups of suites, that have to look at the data before these syncs may send.

    These are the suites that have not seen what would be sent, and those that never ran.
    """
    found: set[str] = set()
    with closing(warehouse.connect(settings, read_only=True)) as connection, snapshot(connection):
        for name in names:
            sync = load_sync(name, folder)
            latest, stale = verdicts(connection, sync, None)
            found |= {*stale, *(named for named in sync.gate if verdict_of(named, latest) is None)}
    return sorted(found)


def not_made(settings: Settings, names: Sequence[str], folder: Path = SYNCS_DIR) -> list[str]:
    """Return those of these syncs whose model no transformation has made yet."""
    with closing(warehouse.connect(settings, read_only=True)) as connection:
        found = connection.execute(
            "SELECT schema_name || '.' || view_name FROM duckdb_views() WHERE database_name = $lake UNION ALL "
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE database_name = $lake",
            {"lake": warehouse.CATALOG},
        ).fetchall()
    made = {row[0] for row in found}
    return [name for name in names if load_sync(name, folder).model not in made]


def run_sync(
    settings: Settings,
    name: str,
    *,
    now: datetime,
    dry_run: bool = False,
    approve: bool = False,
    gate: Gate | None = None,
    retry_rejected: bool = False,
    on_progress: OnProgress | None = None,
    sleep: Callable[[float], None] = time.sleep,
    folder: Path = SYNCS_DIR,
) -> SyncResult:
    """Bring a destination to what its model says, sending only what changed. Recorded in `ops.sync_runs`.

    Raises:
        NotFoundError: no such sync.
        BusyError: another sync of this home is running.
        GateFailed: a suite it names failed, never ran, or has not looked at the data that would be sent.
        SyncBlocked: the source is empty, it would remove or change too much, or a group's size jumps, and no user approved.
        DestinationUnavailable: the destination was away through all retries; what it took is recorded.
        ConfigurationError: the sync or its destination is misconfigured.
    """
    started = time.perf_counter()
    sync = load_sync(name, folder)
    if dry_run:
        plan = plan_sync(settings, name, now=now, gate=gate, retry_rejected=retry_rejected, folder=folder)
        return _planned(plan, new_run_id(now), time.perf_counter() - started)
    with Ledger(settings) as ledger, closing(warehouse.connect(settings)) as connection:
        ledger.lock(sleep)
        ledger.prepare()
        run = Run(settings, sync, connection, ledger, Retries(sleep=sleep), now, "approved" if approve else "run")
        with run.recorded():
            run.prepare(gate, retry_rejected=retry_rejected)
            run.send(on_progress)
        return run.result(time.perf_counter() - started)


def _planned(plan: Plan, run_id: str, seconds: float) -> SyncResult:
    blocked = (*(f"gate: {reason}" for reason in plan.gate), *plan.blocked)
    return SyncResult(
        plan.sync,
        run_id,
        "planned",
        added=plan.added,
        changed=plan.changed,
        removed=plan.removed,
        unchanged=plan.unchanged + plan.held,
        rejected=plan.invalid,
        quarantined=plan.quarantined,
        held_out=plan.held_out,
        seconds=round(seconds, 3),
        refreshed=plan.refreshed,
        held=plan.held,
        blocked=blocked,
        stale=plan.stale,
        samples=plan.samples,
    )
