"""Reconciliation: does the destination still hold what it acknowledged?

Compares what was last sent (ledger) with what is there now, by key and hash, set-wise. Repair sends the model's row
again for each key that drifted, through the same gate and limits as a sync; what is there and should not be is removed
by a mirror and only reported by other modes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypedDict

import duckdb
import msgspec
import pyarrow as pa

from activations import limits, planner
from activations.base import DOCUMENT, HASH, KEY, KIND, Kind
from activations.declaration import Sync
from activations.engine import Run, open_destination, snapshot
from activations.errors import SyncBlocked
from activations.gate import Gate, latest_verdicts, require_open
from activations.ledger import Ledger, utc
from activations.retry import Retries
from activations.shape import PROBLEM, shaped
from activations.sync_files import SYNCS_DIR, load_sync
from searchflow import warehouse
from searchflow.errors import UsageError
from searchflow.ops import record
from searchflow.settings import Settings

SAMPLES = 5


@dataclass(frozen=True)
class Drift:
    """One key that differs. Field names only: values may be personal."""

    kind: str  # missing, different, unexpected
    key: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReconcileResult:
    """What the destination should hold, what it holds, and what differs. Counts are keys."""

    sync: str
    run_id: str
    expected: int
    found: int
    missing: int
    different: int
    unexpected: int
    repaired: int = 0
    seconds: float = 0.0
    samples: tuple[Drift, ...] = ()

    @property
    def drifted(self) -> int:
        """Keys that differ, repaired or not."""
        return self.missing + self.different + self.unexpected

    @property
    def clean(self) -> bool:
        """Is the destination now as it should be?"""
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
        planner.attach_ledger(connection, settings)
        run = Run(settings, sync, connection, ledger, Retries(sleep=sleep), now, "repair")
        _read_found(run)
        planner.read_sent(connection, sync)
        counts = _compare(connection, sync)
        samples = _samples(connection, sync, ledger)
        repaired = _repair(run, gate, counts) if repair and _drifted(counts) else 0
        _write(run, counts, repaired)
    seconds = round(time.perf_counter() - started, 3)
    return ReconcileResult(sync.name, run.run_id, **counts, repaired=repaired, seconds=seconds, samples=tuple(samples))


class Counts(TypedDict):
    """How many keys."""

    expected: int
    found: int
    missing: int
    different: int
    unexpected: int


def _drifted(counts: Counts) -> bool:
    return bool(counts["missing"] or counts["different"] or counts["unexpected"])


def _read_found(run: Run) -> None:
    """`found_rows`: what the destination holds, in the form of the model's rows."""
    with closing(open_destination(run.sync, run.settings)) as destination:
        held = run.retries.call(run.sync.name, destination.read)
    if held is None:
        raise UsageError(
            f"The destination of {run.sync.name} ({run.sync.kind}) cannot be read back, so there is nothing to "
            "compare. Name another sync."
        )
    for field in run.sync.fields:
        if field.name not in held.column_names:
            held = held.append_column(field.name, pa.nulls(held.num_rows, pa.string()))
    fields = [msgspec.structs.replace(field, column=None) for field in run.sync.fields]
    as_named_there = msgspec.structs.replace(run.sync, fields=fields)
    run.connection.register("held", held)
    run.connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE found_rows AS
        SELECT {KEY}, {HASH}, {DOCUMENT} FROM ({shaped(as_named_there, "held")})
    """)
    run.connection.unregister("held")


def _compare(connection: duckdb.DuckDBPyConnection, sync: Sync) -> Counts:
    """Fill `drift` and count."""
    # What was sent once may be anywhere in its consumer's hands by now: only the key is compared.
    differs = "false" if sync.once else f"f.{HASH} <> s.hash"
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE drift AS
        SELECT coalesce(s.key, f.{KEY}) AS {KEY}, f.{DOCUMENT},
            CASE WHEN f.{KEY} IS NULL THEN 'missing' WHEN s.key IS NULL THEN 'unexpected' ELSE 'different' END AS {KIND}
        FROM temp.sent_rows s FULL JOIN temp.found_rows f ON f.{KEY} = s.key
        WHERE f.{KEY} IS NULL OR s.key IS NULL OR {differs}
    """)
    row = connection.execute(f"""
        SELECT (SELECT count(*) FROM temp.sent_rows), (SELECT count(*) FROM temp.found_rows),
            count(*) FILTER ({KIND} = 'missing'), count(*) FILTER ({KIND} = 'different'),
            count(*) FILTER ({KIND} = 'unexpected')
        FROM temp.drift
    """).fetchone()
    assert row is not None
    expected, found, missing, different, unexpected = row
    return Counts(expected=expected, found=found, missing=missing, different=different, unexpected=unexpected)


def _samples(connection: duckdb.DuckDBPyConnection, sync: Sync, ledger: Ledger) -> list[Drift]:
    rows = connection.execute(
        f"SELECT {KIND}, {KEY}, {DOCUMENT} FROM temp.drift "
        f"QUALIFY row_number() OVER (PARTITION BY {KIND} ORDER BY {KEY}) <= ? ORDER BY ALL",
        [SAMPLES],
    ).fetchall()
    sent = ledger.rows(sync, [key for kind, key, _ in rows if kind == "different"])
    return [Drift(kind, key, _fields(sent.get(key), there, kind)) for kind, key, there in rows]


def _fields(sent: str | None, there: str | None, kind: str) -> tuple[str, ...]:
    if kind != "different" or sent is None or there is None:
        return ()
    ours, theirs = json.loads(sent), json.loads(there)
    return tuple(sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)))


def _repair(run: Run, gate: Gate | None, counts: Counts) -> int:
    """Send again. A key the model has lost since is left to the next sync; a message cannot be taken back."""
    connection, sync = run.connection, run.sync
    with snapshot(connection):
        require_open(sync, gate if gate is not None else latest_verdicts(connection))
        planner.check_model(connection, sync)
        planner.read_current(connection, sync)
        _write_differences(connection, sync)
        planner.stage(connection, sync)
    row = connection.execute("SELECT count(*) FROM temp.leaving").fetchone()
    reasons = limits.too_many_removed(sync, int(row[0]) if row else 0, counts["found"])
    if reasons:
        raise SyncBlocked(sync.name, reasons)
    with run.recorded():
        if planner.staged(connection):
            run.deliver(None)
    return sum(run.tally.sent.values())


def _write_differences(connection: duckdb.DuckDBPyConnection, sync: Sync) -> None:
    strangers = f"OR (d.{KIND} = 'unexpected' AND c.{KEY} IS NULL)" if sync.mode == "mirror" else ""
    known = f"d.{KIND} = 'missing'" if sync.once else "true"
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE differences AS
        SELECT d.{KEY}, c.{HASH}, c.{PROBLEM},
            CASE WHEN c.{KEY} IS NULL THEN '{Kind.REMOVED}' ELSE '{Kind.REPAIRED}' END AS {KIND}
        FROM temp.drift d LEFT JOIN temp.current_rows c USING ({KEY})
        WHERE (c.{KEY} IS NOT NULL AND c.{PROBLEM} IS NULL AND {known}) {strangers}
    """)


def _write(run: Run, counts: Counts, repaired: int) -> None:
    row = {"run_id": run.run_id, "sync": run.sync.name, "checked_at": utc(run.now), "repaired": repaired}
    record.rows(run.connection, "ops.reconciliation_runs", [row | dict(counts)])
