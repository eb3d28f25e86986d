"""Reconciliation: does the destination still hold what it acknowledged?

Compares what was last sent, what the model says now and what is there (`activations.comparison`), and tells a lost
write, a foreign edit, a foreign delete and a foreign row apart (`activations.diagnosis`). Repair sends the model's row
again for each key that drifted, through the same gate and limits as a sync, and leaves fields whose `drift` says so;
what is there and should not be is removed by a mirror and only reported by other modes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypedDict

import duckdb

from activations import limits, planner
from activations.base import HASH, KEY, KIND, Kind, utc
from activations.comparison import Compared, compare
from activations.declaration import Sync
from activations.diagnosis import Cause, diagnose
from activations.errors import SyncBlocked
from activations.gate import Gate, require_open
from activations.ledger import Ledger, attach
from activations.retry import Retries
from activations.run import Run, snapshot, verdicts
from activations.shape import PROBLEM
from activations.sync_files import SYNCS_DIR, load_sync
from searchflow import warehouse
from searchflow.fetching import first_row
from searchflow.ops import audit_log, record
from searchflow.settings import Settings

SAMPLES = 5


@dataclass(frozen=True)
class KeyDrift:
    """One key that differs. Field names only: values may be personal."""

    kind: str  # missing, different, unexpected
    key: str
    fields: tuple[str, ...] = ()
    cause: str = ""  # lost_write, foreign_edit, foreign_delete, foreign_row


@dataclass(frozen=True)
class ReconcileResult:
    """The result: what the destination should hold, what it holds, and what differs. Counts are keys."""

    sync: str
    run_id: str
    expected: int
    found: int
    missing: int
    different: int
    unexpected: int
    lost_writes: int = 0
    foreign_edits: int = 0
    foreign_deletes: int = 0
    foreign_rows: int = 0
    settled: int = 0  # not as last sent, but as the model is now: left by a run that was killed, no drift
    accepted: int = 0  # differ in fields that belong to the destination: no drift
    fields: Mapping[str, int] = field(default_factory=dict)  # field -> keys that differ in it
    read: int = 0  # rows read from the destination; the others were compared by digest
    repaired: int = 0
    seconds: float = 0.0
    samples: tuple[KeyDrift, ...] = ()

    @property
    def drifted(self) -> int:
        """Return how many keys differ, repaired or not."""
        return self.missing + self.different + self.unexpected

    @property
    def clean(self) -> bool:
        """Return whether the destination is now as it should be."""
        return self.drifted == self.repaired


def reconcile(
    settings: Settings,
    name: str,
    *,
    now: datetime,
    repair: bool = False,
    gate: Gate | None = None,
    sleep: Callable[[float], None] = time.sleep,
    folder: Path = SYNCS_DIR,
) -> ReconcileResult:
    """Compare a destination with what it acknowledged; with `repair`, send again what it lost or what was changed.

    Raises:
        NotFoundError: no such sync.
        UsageError: its destination cannot be read back.
        GateFailed, SyncBlocked: `repair` would send what a sync may not send.
        DestinationUnavailable: it does not answer.
    """
    started = time.perf_counter()
    sync = load_sync(name, folder)
    with Ledger(settings) as ledger, closing(warehouse.connect(settings)) as connection:
        ledger.lock(sleep)
        ledger.prepare()
        attach(connection, settings)
        run = Run(settings, sync, connection, ledger, Retries(sleep=sleep), now, "repair")
        target = f"{sync.kind} {sync.name}"
        audit_log.append(
            settings, "read", target, detail=f"reconciliation{' with repair' if repair else ''}, {run.run_id}"
        )
        with snapshot(connection):
            compared = compare(run)
        lost = diagnose(connection, sync, ledger)
        counts = _counted(connection, compared)
        samples = _samples(connection)
        ledger.mark_seen(sync, now, lost)
        repaired = _repair(run, gate, compared.found) if repair and _drifted(counts) else 0
        _write(run, counts, repaired)
    seconds = round(time.perf_counter() - started, 3)
    return ReconcileResult(sync.name, run.run_id, **counts, repaired=repaired, seconds=seconds, samples=tuple(samples))


class KeyCounts(TypedDict):
    """Counts of keys, by how they differ."""

    expected: int
    found: int
    missing: int
    different: int
    unexpected: int
    lost_writes: int
    foreign_edits: int
    foreign_deletes: int
    foreign_rows: int
    settled: int
    accepted: int
    fields: dict[str, int]
    read: int


def _drifted(counts: KeyCounts) -> bool:
    return bool(counts["missing"] or counts["different"] or counts["unexpected"])


def _counted(connection: duckdb.DuckDBPyConnection, compared: Compared) -> KeyCounts:
    kinds = dict(connection.execute(f"SELECT {KIND}, count(*) FROM temp.drift GROUP BY ALL").fetchall())
    causes = dict(connection.execute("SELECT cause, count(*) FROM temp.causes GROUP BY ALL").fetchall())
    fields = connection.execute(
        "SELECT name, count(*) FROM (SELECT unnest(fields) AS name FROM temp.drift) GROUP BY ALL ORDER BY ALL"
    )
    return KeyCounts(
        expected=compared.expected,
        found=compared.found,
        settled=compared.settled,
        accepted=compared.accepted,
        read=compared.read,
        missing=kinds.get("missing", 0),
        different=kinds.get("different", 0),
        unexpected=kinds.get("unexpected", 0),
        lost_writes=causes.get(Cause.LOST_WRITE, 0),
        foreign_edits=causes.get(Cause.FOREIGN_EDIT, 0),
        foreign_deletes=causes.get(Cause.FOREIGN_DELETE, 0),
        foreign_rows=causes.get(Cause.FOREIGN_ROW, 0),
        fields=dict(fields.fetchall()),
    )


def _samples(connection: duckdb.DuckDBPyConnection) -> list[KeyDrift]:
    rows = connection.execute(
        f"SELECT {KIND}, {KEY}, fields, cause FROM temp.drift JOIN temp.causes USING ({KEY}) "
        f"QUALIFY row_number() OVER (PARTITION BY {KIND}, cause ORDER BY {KEY}) <= ? ORDER BY ALL",
        [SAMPLES],
    ).fetchall()
    return [KeyDrift(kind, key, tuple(sorted(fields)), cause) for kind, key, fields, cause in rows]


def _repair(run: Run, gate: Gate | None, found: int) -> int:
    """Send drifted keys again. A key the model has lost since is left to the next sync; a message cannot be taken
    back."""
    connection, sync = run.connection, run.sync
    with snapshot(connection):
        require_open(sync, *verdicts(connection, sync, gate))
        planner.check_model(connection, sync)
        planner.read_current(connection, sync)
        _write_differences(connection, sync)
        planner.stage(connection, sync)
    row = first_row(connection.execute("SELECT count(*) FROM temp.leaving"))
    hold = run.ledger.on_hold(sync)
    reasons = [hold] if hold else limits.too_many_removed(sync, int(row[0]) if row else 0, found)
    if reasons:
        raise SyncBlocked(sync.name, reasons)
    with run.recorded():
        if planner.staged(connection):
            run.deliver(None)
    return sum(run.tally.sent.values())


def _write_differences(connection: duckdb.DuckDBPyConnection, sync: Sync) -> None:
    strangers = f"OR (d.{KIND} = 'unexpected' AND c.{KEY} IS NULL)" if sync.mode == "mirror" else ""
    known = f"d.{KIND} = 'missing'" if sync.once else "true"
    left = sorted(sync.kept_fields(repair=True))
    ours = f"(len(d.fields) = 0 OR NOT list_has_all({left!r}::VARCHAR[], d.fields))"
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE differences AS
        SELECT d.{KEY}, c.{HASH}, c.{PROBLEM},
            CASE WHEN c.{KEY} IS NULL THEN '{Kind.REMOVED}' ELSE '{Kind.REPAIRED}' END AS {KIND}
        FROM temp.drift d LEFT JOIN temp.current_rows c USING ({KEY})
        WHERE (c.{KEY} IS NOT NULL AND c.{PROBLEM} IS NULL AND {known} AND {ours}) {strangers}
    """)


def _write(run: Run, counts: KeyCounts, repaired: int) -> None:
    row = {"run_id": run.run_id, "sync": run.sync.name, "checked_at": utc(run.now), "repaired": repaired}
    found = {name: value for name, value in counts.items() if name not in ("fields", "read")}
    record.rows(run.connection, "ops.reconciliation_runs", [row | found])
    policies = {field.name: field.drift for field in run.sync.fields}
    fields = [
        {"run_id": run.run_id, "sync": run.sync.name, "field": name, "drift": policies[name], "different": keys}
        for name, keys in counts["fields"].items()
    ]
    record.rows(run.connection, "ops.reconciliation_fields", fields)
