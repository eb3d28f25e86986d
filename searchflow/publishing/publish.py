"""The update of the marts in PostgreSQL to what the lake holds: only the changed parts, in one transaction for each table.

A table is published after its quality gate: when its newest checks failed, or were never run, it keeps what was published
before. Personal columns stay in the lake. A run may be killed at any moment: each table is the old or the new one, and the
next run continues.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import duckdb
import psycopg
import pyarrow as pa

from searchflow import warehouse
from searchflow.errors import NotFoundError, UsageError
from searchflow.ops import audit_log
from searchflow.progress import progress
from searchflow.publishing import target
from searchflow.publishing.parts import Mart, mart
from searchflow.settings import Settings
from searchflow.transformation.marks import personal_columns

SCHEMA = "marts"
ROWS_A_BATCH = 50_000


@dataclass(frozen=True)
class Published:
    """The outcome of publishing one table."""

    table: str
    outcome: str
    """One of: published, unchanged, held back, removed."""
    rows: int
    parts_written: int
    rows_written: int
    seconds: float
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as plain data, for `--json`."""
        return asdict(self)


def publish(
    settings: Settings, names: Sequence[str] = (), *, full: bool = False, clock: Callable[[], datetime]
) -> list[Published]:
    """Publish these tables (all marts when none is named). With `full`, also compare tables that no run has made since.

    Raises:
        NotFoundError: there is no such mart.
        UsageError: there is no mart at all yet.
    """
    with warehouse.connect(settings, read_only=True) as lake:
        lake.execute("BEGIN")  # one snapshot: the tables fit together
        chosen = _chosen(lake, names)
        personal = personal_columns(settings)
        gates, made = _gates(lake), _made(lake)
        done = []
        with target.opened(settings) as connection, progress("publishing", len(chosen)) as bar:
            before = target.made_before(connection)
            for name in chosen:
                bar.update(label=f"publishing {name}")
                table = mart(lake, name, sorted(personal.get(name, ())))
                job = _Job(settings, lake, connection, table, gates.get(name), made.get(name), clock())
                unmade = not full and name in before and before[name] == (made.get(name), table.shape)
                done.append(job.held_back() or (job.unchanged() if unmade and made.get(name) else job.run()))
                bar.advance()
            for name in sorted(set(before) - set(chosen)) if not names else ():
                audit_log.append(settings, "send", f"bi {name}", rows=0, detail="removed: the lake has no such mart")
                target.remove(connection, name)
                done.append(Published(name, "removed", 0, 0, 0, 0.0, "the lake has no such mart any more"))
    return done


def _chosen(lake: duckdb.DuckDBPyConnection, names: Sequence[str]) -> list[str]:
    rows = lake.execute(
        "SELECT table_schema || '.' || table_name FROM information_schema.tables "
        "WHERE table_catalog = ? AND table_schema = ? ORDER BY ALL",
        [warehouse.CATALOG, SCHEMA],
    ).fetchall()
    known = [row[0] for row in rows]
    if not known:
        raise UsageError("There is no mart to publish yet. Run `searchflow transform` first.")
    wanted = [name if "." in name else f"{SCHEMA}.{name}" for name in names]
    for name in wanted:
        if name not in known:
            raise NotFoundError("mart", name, known)
    return wanted or known


@dataclass(frozen=True)
class _Gate:
    outcome: str
    checks: int
    checked_at: datetime


def _gates(lake: duckdb.DuckDBPyConnection) -> dict[str, _Gate]:
    """Return suite -> how its newest run ended."""
    rows = lake.execute(
        """
        WITH latest AS (
            SELECT suite, arg_max(run_id, (checked_at, run_id)) AS run_id FROM ops.validation_results GROUP BY suite
        )
        SELECT suite, CASE WHEN bool_or(outcome IN ('fail', 'error')) THEN 'failed'
                           WHEN bool_or(outcome <> 'pass') THEN 'warned' ELSE 'passed' END, count(*), max(checked_at)
        FROM ops.validation_results JOIN latest USING (suite, run_id) GROUP BY suite
        """
    ).fetchall()
    return {suite: _Gate(outcome, checks, at) for suite, outcome, checks, at in rows}


def _made(lake: duckdb.DuckDBPyConnection) -> dict[str, datetime]:
    rows = lake.execute(
        "SELECT model, max(started_at) FROM ops.model_runs WHERE status = 'succeeded' AND environment = 'prod' GROUP BY 1"
    ).fetchall()
    return dict(rows)


@dataclass(frozen=True)
class _Job:
    """The publishing of one table."""

    settings: Settings
    lake: duckdb.DuckDBPyConnection
    connection: psycopg.Connection
    table: Mart
    gate: _Gate | None
    made: datetime | None
    now: datetime

    def held_back(self) -> Published | None:
        """Return the outcome "held back" when the gate failed or never ran: nothing leaves without a gate."""
        if self.gate is None:
            why = "its quality gate has never run: `searchflow validate` runs it"
        elif self.gate.outcome == "failed":
            why = "its quality gate failed: `searchflow validate` names the checks"
        else:
            return None
        return Published(self.table.name, "held back", 0, 0, 0, 0.0, why)

    def unchanged(self) -> Published:
        """Return the outcome "unchanged" for a table that no run has made since: its rows are not even read."""
        row = self.connection.execute(
            f"SELECT rows FROM {target.STORE}.marts WHERE name = %s", [self.table.name]
        ).fetchone()
        self.connection.commit()
        return Published(self.table.name, "unchanged", int(row[0]) if row else 0, 0, 0, 0.0)

    def run(self) -> Published:
        """Compare the parts and write those that differ, all in one transaction."""
        began = time.perf_counter()
        there = target.known_parts(self.connection, self.table)
        here = self.table.digests(self.lake)
        changed = {part: facts for part, facts in here.items() if there.get(part) != facts}
        gone = [part for part in there if part not in here]
        rebuild = not there
        written = sum(count for count, _ in changed.values())
        if changed or gone or rebuild:
            audit_log.append(
                self.settings,
                "send",
                f"bi {self.table.name}",
                rows=written,
                detail=f"{len(changed)} parts written, {len(gone)} removed",
            )
            target.replace_parts(
                self.connection,
                self.settings,
                self.table,
                rebuild=rebuild,
                changed=changed,
                gone=gone,
                batches=self._batches(list(changed)),
            )
        rows = sum(count for count, _ in here.values())
        target.note(self.connection, self.table.name, self._facts(rows))
        self.connection.commit()
        outcome = "published" if changed or gone or rebuild else "unchanged"
        return Published(self.table.name, outcome, rows, len(changed) + len(gone), written, time.perf_counter() - began)

    def _batches(self, parts: list[int]) -> Iterator[pa.RecordBatch]:
        if parts:
            yield from self.table.rows(self.lake, parts).to_arrow_reader(ROWS_A_BATCH)

    def _facts(self, rows: int) -> dict[str, Any]:
        assert self.gate is not None
        return {
            "shape": self.table.shape,
            "made_at": self.made,
            "published_at": self.now.replace(tzinfo=None),
            "rows": rows,
            "gate": self.gate.outcome,
            "checks": self.gate.checks,
            "checked_at": self.gate.checked_at,
        }
