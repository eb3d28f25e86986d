"""Stages: every run of a stage is a row of `ops.stage_runs`, also when it fails or is killed. The row has rows,
duration, status and error.

A run that begins takes a ticket in `monitoring.running` and holds a lock as long as its process lives. Tickets whose
lock is free belong to runs that were killed: the next process that comes writes their row for them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from searchflow import actor, tracing, warehouse
from searchflow.errors import SearchFlowError
from searchflow.ops import audit_log, record
from searchflow.services import locks, postgres
from searchflow.settings import Settings

SETUP = Path(__file__).with_name("monitoring.sql")
KILLED = "The process ended without a report: it was killed, or the machine went down."


@dataclass
class Stage:
    """What a stage reports of itself."""

    rows_in: int = 0
    rows_out: int = 0
    rejected: int = 0


def prepare(settings: Settings) -> None:
    """Make what monitoring remembers. It is safe to call this again. A role that may not even look at it does without."""
    with (
        suppress(psycopg.OperationalError, psycopg.errors.InsufficientPrivilege),
        psycopg.connect(postgres.conninfo(settings, "ledger")) as connection,
    ):
        connection.execute("SELECT pg_advisory_xact_lock(%s, 0)", [locks.STAGES])
        known = connection.execute("SELECT to_regclass('monitoring.notices')").fetchone()
        if known is None or known[0] is None:
            connection.execute(SETUP.read_bytes())


@contextmanager
def noted(
    settings: Settings,
    name: str,
    run: str,
    *,
    clock: Callable[[], datetime],
    log: logging.Logger | logging.LoggerAdapter[Any] | None = None,
) -> Iterator[Stage]:
    """Note a run of a stage in `ops.stage_runs` and the audit log, however it ends."""
    report, started, since = Stage(), clock(), time.monotonic()
    bury(settings)
    status, problem = "completed", None
    with _ticket(settings, name, run, started), tracing.span(f"stage {name}", run=run) as span:
        try:
            with actor.announced(name, run):
                yield report
        except BaseException as error:
            status, problem = ("stopped" if was_stopped(error) else "failed"), shown(error)
            raise
        finally:
            tracing.note(span, rows_in=report.rows_in, rows_out=report.rows_out, rejected=report.rejected)
            row = {
                "run_id": run,
                "stage": name,
                "started_at": started.replace(tzinfo=None),
                "duration_s": time.monotonic() - since,
                "status": status,
                "rows_in": report.rows_in,
                "rows_out": report.rows_out,
                "rejected": report.rejected,
                "error": problem,
                "traceparent": tracing.traceparent(),
            }
            try:
                _write(settings, row)
            except (SearchFlowError, psycopg.Error):
                (log or logging.getLogger(__name__)).warning(
                    "the run of %s could not be noted in ops.stage_runs: the warehouse does not answer", name
                )


def was_stopped(error: BaseException) -> bool:
    """Return whether the run was told to end, rather than failing.

    A signal that comes while DuckDB works ends the query with an error of its own, and is the cause of that error.
    """
    cause: BaseException | None = error
    while cause is not None and isinstance(cause, Exception):
        cause = cause.__cause__
    return cause is not None


def shown(error: BaseException) -> str:
    """Return an error as it may be kept. Our own errors say no more than they may; others may quote data, so only their
    kind is told.
    """
    text = type(error).__name__
    return f"{text}: {error}"[:500] if isinstance(error, SearchFlowError) else text


def _write(settings: Settings, row: dict[str, Any]) -> None:
    with actor.announced(row["stage"], row["run_id"]):
        with warehouse.connect(settings) as connection:
            record.rows(connection, "ops.stage_runs", [row])
        audit_log.append(settings, "run", row["stage"], rows=row["rows_out"], detail=row["status"])
        audit_log.anchor(settings)


@contextmanager
def _ticket(settings: Settings, name: str, run: str, started: datetime) -> Iterator[None]:
    """Hold a row and a lock for as long as the block lasts. A server that is away does not keep a stage from running."""
    connection = ticket = None
    with suppress(psycopg.Error):
        connection = psycopg.connect(postgres.conninfo(settings, "ledger"))
        row = connection.execute(
            "INSERT INTO monitoring.running (run_id, stage, started_at) VALUES (%s, %s, %s) RETURNING ticket",
            [run, name, started],
        ).fetchone()
        ticket = row[0] if row else None
        connection.execute("SELECT pg_advisory_lock(%s, %s)", [locks.STAGES, ticket])  # before others can see the row
        connection.commit()
        connection.autocommit = True
    try:
        yield
    finally:
        if connection is not None:
            with suppress(psycopg.Error):
                connection.execute("DELETE FROM monitoring.running WHERE ticket = %s", [ticket])
            connection.close()


def bury(settings: Settings) -> int:
    """Write the rows of runs that were killed. Return how many. A failure here stops nothing: the next process does it.

    A run that outlived a restart of PostgreSQL has lost its lock too; it is written as killed, and once more when it
    ends.
    """
    with suppress(psycopg.Error, SearchFlowError), psycopg.connect(postgres.conninfo(settings, "ledger")) as connection:
        dead = connection.execute(
            "SELECT ticket, run_id, stage, started_at AT TIME ZONE 'UTC' FROM monitoring.running "
            "WHERE pg_try_advisory_xact_lock(%s, ticket) FOR UPDATE SKIP LOCKED",
            [locks.STAGES],
        ).fetchall()
        if not dead:
            return 0
        rows = [
            {"run_id": run, "stage": stage, "started_at": started, "status": "killed", "error": KILLED}
            for _, run, stage, started in dead
        ]
        with warehouse.connect(settings) as lake, warehouse.transaction(lake):
            known = lake.execute(  # a follower's run has a row a pass
                "SELECT run_id, stage, started_at FROM ops.stage_runs WHERE run_id IN (SELECT unnest(?))",
                [[row["run_id"] for row in rows]],
            ).fetchall()
            record.rows(
                lake,
                "ops.stage_runs",
                [row for row in rows if (row["run_id"], row["stage"], row["started_at"]) not in set(known)],
            )
        connection.execute("DELETE FROM monitoring.running WHERE ticket = ANY(%s)", [[ticket for ticket, *_ in dead]])
        return len(dead)
    return 0
