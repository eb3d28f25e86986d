"""Undo of a run: what it changed is again as it was before, from the pre-images in the ledger's row log.

Only rows that still are as that run left them: what a later run wrote stays. Rows that it added are removed by a mirror
and left by other modes. Afterwards the sync is on hold, because its next run would send the same again: it stops before
sending until a user approves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import msgspec

from activations import planner
from activations.base import KEY, KIND, Kind
from activations.declaration import Sync
from activations.ledger import Ledger, attach
from activations.retry import Retries
from activations.run import Run
from activations.sync_files import SYNCS_DIR, load_sync
from searchflow import warehouse
from searchflow.errors import UsageError
from searchflow.fetching import first_row
from searchflow.ops import audit_log
from searchflow.quoting import literal, quoted
from searchflow.settings import Settings

SOURCE = "temp.pre_images"


@dataclass(frozen=True)
class UndoResult:
    """The result of an undo. Counts are keys."""

    sync: str
    run_id: str
    undone: str  # the run
    restored: int = 0
    removed: int = 0  # added by the run
    left: int = 0  # added by the run, and this mode removes nothing
    overtaken: int = 0  # a later run wrote them
    rejected: int = 0
    seconds: float = 0.0


def undo_run(
    settings: Settings,
    name: str,
    undone: str,
    *,
    now: datetime,
    sleep: Callable[[float], None] = time.sleep,
    folder: Path = SYNCS_DIR,
) -> UndoResult:
    """Restore what the run `undone` changed, and hold the sync. Killed in the middle and called again, it goes on.

    Raises:
        NotFoundError: no such sync.
        UsageError: the run wrote nothing for this sync or has left the log, or the ledger may not keep the sync's rows.
        DestinationUnavailable: it was away through all retries; call again.
    """
    started = time.perf_counter()
    sync = load_sync(name, folder)
    if not sync.keeps_rows:
        raise UsageError(
            f"{name} cannot be undone: what it sends is personal or sent only once, so the ledger keeps no rows of it."
        )
    with Ledger(settings) as ledger, closing(warehouse.connect(settings)) as connection:
        ledger.lock(sleep)
        ledger.prepare()
        _check_age(ledger, undone)
        attach(connection, settings)
        run = Run(settings, sync, connection, ledger, Retries(sleep=sleep), now, "undo")
        counts = _stage(connection, sync, undone)
        ledger.hold(sync, undone, run.by, now)  # first: killed from here on, nothing sends the same again
        audit_log.append(
            settings, "undo", f"{sync.kind} {sync.name}", rows=counts["restored"] + counts["removed"],
            detail=f"by {run.by}: run {undone}, sync run {run.run_id}",
        )  # fmt: skip
        with run.recorded():
            if planner.staged(connection):
                run.deliver(None)
    seconds = round(time.perf_counter() - started, 3)
    return UndoResult(name, run.run_id, undone, **counts, rejected=run.tally.rejected, seconds=seconds)


def _check_age(ledger: Ledger, undone: str) -> None:
    """Refuse a run that has left the log: a part of it may still be there, and must not be restored by halves."""
    kept_from = ledger.kept_from()
    if kept_from is not None and undone < f"{kept_from:%Y%m%dT%H%M%S}":
        raise UsageError(
            f"The run {undone} has left the log of syncs, which begins at {kept_from:%Y-%m-%d %H:%M} (UTC), and can no "
            "longer be undone. SEARCHFLOW_LEDGER_DAYS says how long runs are kept."
        )


def _stage(connection: duckdb.DuckDBPyConnection, sync: Sync, undone: str) -> dict[str, int]:
    """Stage the pre-images of the run's rows, and count."""
    query = f"""
        SELECT l.key, l.kind, l.before,
            CASE WHEN l.kind = 'removed' THEN s.key IS NOT NULL ELSE s.run_id IS DISTINCT FROM l.run_id END
            OR EXISTS (SELECT FROM activation.all_rows n WHERE n.sync = l.sync AND n.key = l.key
                AND n.status = 'sent' AND n.sequence > l.sequence) AS overtaken
        FROM activation.all_rows l LEFT JOIN activation.sent s ON s.sync = l.sync AND s.key = l.key
        WHERE l.sync = {literal(sync.name)} AND l.run_id = {literal(undone)} AND l.status = 'sent'
            AND l.kind <> 'refreshed'"""
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE undoable AS SELECT * FROM postgres_query('ledger', {literal(query)})"
    )
    removes = "true" if sync.mode == "mirror" else "false"
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE differences AS
        SELECT key AS {KEY}, CASE WHEN before IS NULL THEN '{Kind.REMOVED}' ELSE '{Kind.RESTORED}' END AS {KIND}
        FROM temp.undoable WHERE NOT overtaken AND (before IS NOT NULL OR {removes})
    """)
    row = first_row(
        connection.execute(f"""
        SELECT count(*), count(*) FILTER (overtaken), count(*) FILTER (NOT overtaken AND before IS NOT NULL),
            count(*) FILTER (NOT overtaken AND before IS NULL AND {removes}) FROM temp.undoable
    """)
    )
    assert row is not None
    written, overtaken, restored, removed = row
    if not written:
        raise UsageError(
            f'The run {undone} wrote nothing for {sync.name}. `searchflow query "SELECT run_id, status, changed FROM '
            f"ops.sync_runs WHERE sync = '{sync.name}' ORDER BY run_id DESC\"` lists its runs."
        )
    connection.execute(f"CREATE OR REPLACE TEMP VIEW pre_images AS {_pre_images(sync)}")
    fields = [msgspec.structs.replace(field, column=None) for field in sync.fields]
    planner.stage(connection, msgspec.structs.replace(sync, fields=fields), SOURCE)
    left = written - overtaken - restored - removed
    return {"restored": restored, "removed": removed, "left": left, "overtaken": overtaken}


def _pre_images(sync: Sync) -> str:
    """Return SQL that gives the stored documents as rows again, under the names of the fields."""
    known = "temp.undoable WHERE NOT overtaken AND before IS NOT NULL"
    if sync.group is not None:
        member, value = quoted(sync.group.member), quoted(sync.group.value)
        return f"""
            SELECT key AS {quoted(sync.key)}, entry.key AS {member}, entry.value AS {value}
            FROM (SELECT key, unnest(map_entries(before::JSON::MAP(VARCHAR, VARCHAR))) AS entry FROM {known})"""
    columns = ", ".join(f"before ->> {literal(f'$.{each.name}')} AS {quoted(each.name)}" for each in sync.fields)
    return f"SELECT {columns} FROM {known}"
