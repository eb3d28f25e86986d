"""The state of the platform: which servers and processes are well, what waits, how fresh each table is, what ran last."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import duckdb

from searchflow import streams, warehouse
from searchflow.errors import SearchFlowError
from searchflow.fetching import first_row
from searchflow.ingestion import meter
from searchflow.ingestion.accounting import Accounting, accounting
from searchflow.ops import levels
from searchflow.ops.levels import Evaluated
from searchflow.services import ports, postgres, prefect, process, valkey
from searchflow.settings import Settings

BACKGROUND = ("flows", "live-traffic", "dashboards")
"""The processes that `searchflow up` starts beside the servers."""


@dataclass
class Status:
    """Everything `searchflow status` shows."""

    healthy: bool
    home: str
    services: dict[str, str]
    lag: dict[str, dict[str, Any]] = field(default_factory=dict)
    ingestion: list[dict[str, Any]] = field(default_factory=list)
    """The sources of the last hour: what became of the events of each, and its rate over the last five minutes."""
    freshness: list[dict[str, Any]] = field(default_factory=list)
    last_runs: list[dict[str, Any]] = field(default_factory=list)
    last_syncs: list[dict[str, Any]] = field(default_factory=list)
    quality: list[dict[str, Any]] = field(default_factory=list)
    open_dead_letters: int = 0
    held_events: int = 0
    """The number of stored events that a model could not process, and that staging therefore leaves out."""
    accounting: Accounting | None = None
    levels: list[Evaluated] = field(default_factory=list)
    """The present state of every service level for each of its targets."""
    production: dict[str, Any] = field(default_factory=dict)
    """The differences between the model files and what was promoted, when the caller has looked."""

    def as_dict(self) -> dict[str, Any]:
        """Return the status as plain data, for `--json`."""
        document = asdict(self)
        document["accounting"] = self.accounting.as_dict() if self.accounting else None
        return document


def collect(settings: Settings, *, now: datetime) -> Status:
    """Look at everything without changing anything. A server that does not answer is reported, not raised."""
    declared = levels.load_levels()
    services = {
        "stream server": _health(valkey.check, settings),
        "PostgreSQL": _health(postgres.check, settings),
        "Prefect server": prefect.state(settings),
    }
    for name in BACKGROUND:
        services[name] = _background(settings, name)
    well = all(services[name] == "up" for name in ("stream server", "PostgreSQL"))
    status = Status(healthy=well, home=str(settings.home), services=services)
    if services["stream server"] == "up":
        status.lag = _lag(settings, now)
    if services["PostgreSQL"] == "up":
        try:
            # One snapshot, so that the levels judge what the tables show.
            with warehouse.connect(settings, read_only=True) as connection, warehouse.transaction(connection):
                _from_warehouse(connection, status, now)
                status.levels = levels.evaluate(connection, declared, _facts(status), now=now)
        except SearchFlowError as error:
            status.healthy = False
            status.services["warehouse"] = str(error)
    if not status.levels:
        status.levels = levels.evaluate(None, declared, _facts(status), now=now)
    return status


def _facts(status: Status) -> levels.Facts:
    """Collect the facts that service levels need and that the lake does not hold."""
    missed = None
    if status.accounting is not None:
        counted = status.accounting
        missed = abs(counted.received - counted.stored - counted.duplicates - counted.dead_letters)
        missed = max(missed, int(not counted.holds))
    lag = {name: float(each["oldest_seconds"]) for name, each in status.lag.items()}
    return levels.Facts(status.services, lag, missed)


def _background(settings: Settings, name: str) -> str:
    """Return the state of a background process: it is up when it runs and has the port that it serves."""
    if process.running(settings, name) is None:
        return "not running"
    if name not in ports.TITLES or (whose := ports.listener(settings, name)) == "ours":
        return "up"
    taken = f"runs without its port: {settings.dashboards_port} belongs to another program"
    return "starting" if whose == "nobody" else taken


def _health(check: Any, settings: Settings) -> str:
    try:
        check(settings)
    except SearchFlowError as error:
        return str(error)
    return "up"


def _lag(settings: Settings, now: datetime) -> dict[str, dict[str, Any]]:
    """Return the waiting entries of each event type and how long the oldest has waited, over all shards."""
    waiting = meter.backlogs(settings, now)
    return {
        event_type: {
            "entries": sum(waiting[name].entries for name in names),
            "oldest_seconds": max(waiting[name].lag_seconds for name in names),
        }
        for event_type, names in streams.names(settings).items()
    }


def _from_warehouse(connection: duckdb.DuckDBPyConnection, status: Status, now: datetime) -> None:
    plain = now.replace(tzinfo=None)
    status.accounting = accounting(connection)
    status.healthy = status.healthy and status.accounting.holds
    letters = first_row(connection.execute("SELECT count(*) FROM raw.dead_letters WHERE status = 'open'"))
    status.open_dead_letters = int(letters[0]) if letters else 0
    held = first_row(connection.execute("SELECT count(*) FROM ops.held_events WHERE released_at IS NULL"))
    status.held_events = int(held[0]) if held else 0
    status.ingestion = _rows(
        connection,
        """
        SELECT source, max(committed_at) AS last_commit_at, count(*) AS commits, sum(received)::BIGINT AS received,
               sum(stored)::BIGINT AS stored, sum(duplicates)::BIGINT AS duplicates,
               sum(dead_letters)::BIGINT AS dead_letters, sum(late)::BIGINT AS late,
               round(coalesce(sum(received) FILTER (committed_at > $now::TIMESTAMP - INTERVAL 5 MINUTES), 0) / 300.0, 1)
                   AS events_per_second
        FROM ops.ingestion_batches
        WHERE shard <> 'replay' AND committed_at > $now::TIMESTAMP - INTERVAL 1 HOUR
        GROUP BY source ORDER BY source
        """,
        now=plain,
    )
    status.freshness = _rows(
        connection,
        """
        SELECT model AS table_name, max(interval_end) AS covered_until, max(started_at) AS updated_at,
               round(date_diff('millisecond', max(started_at), $now) / 1000.0, 1) AS age_seconds
        FROM ops.model_runs WHERE status = 'succeeded' AND environment = 'prod' AND model NOT LIKE 'staging.%'
        GROUP BY model ORDER BY model
        """,
        now=plain,
    )
    status.last_runs = _rows(
        connection,
        """
        SELECT stage, started_at, round(duration_s, 1) AS seconds, status, rows_in, rows_out, rejected, error
        FROM ops.stage_runs QUALIFY row_number() OVER (PARTITION BY stage ORDER BY started_at DESC) = 1 ORDER BY stage
        """,
    )
    status.last_syncs = _rows(
        connection,
        """
        SELECT sync, started_at, status, added, changed, removed, unchanged, rejected, error
        FROM ops.sync_runs QUALIFY row_number() OVER (PARTITION BY sync ORDER BY started_at DESC) = 1 ORDER BY sync
        """,
    )
    status.quality = _rows(
        connection,
        """
        WITH latest AS (
            SELECT suite, run_id FROM ops.validation_results
            QUALIFY row_number() OVER (PARTITION BY suite ORDER BY checked_at DESC) = 1)
        SELECT suite, max(checked_at) AS checked_at, count(*) FILTER (success) AS passed,
               count(*) FILTER (NOT success AND severity = 'critical') AS failed,
               count(*) FILTER (NOT success AND severity <> 'critical') AS warned
        FROM ops.validation_results JOIN latest USING (suite, run_id) GROUP BY suite ORDER BY suite
        """,
    )


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, **parameters: Any) -> list[dict[str, Any]]:
    cursor = connection.execute(sql, parameters) if parameters else connection.execute(sql)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
