"""A scene for syncs: small models with literal rows, verdicts of suites, and eyes on the destinations."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import psycopg
import redis

import activations
from searchflow import services, streams, warehouse
from searchflow.ops import record
from searchflow.settings import Settings

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
CRM = "activation.act_crm_user_segments"
EMAILS = "activation.act_abandoned_search_emails"
RECO = "activation.act_recommendations"
COLUMNS = {
    CRM: "user_id VARCHAR, segment VARCHAR, lifetime_revenue DECIMAL(18,2), conversions BIGINT, "
    "last_seen_at TIMESTAMP, country VARCHAR",
    EMAILS: "idempotency_key VARCHAR, user_id VARCHAR, email VARCHAR, name VARCHAR, locale VARCHAR, "
    "time_zone VARCHAR, query VARCHAR, destination VARCHAR, searched_at TIMESTAMP",
    RECO: "user_id VARCHAR, destination VARCHAR, score DOUBLE, rank INTEGER",
}
SUITES = sorted({suite for sync in activations.load_syncs().values() for suite in sync.gate})
SEEN = "2026-03-09 08:30:00"


OPS = (
    "ops.validation_results",
    "ops.validated_tables",
    "ops.quarantined_rows",
    "ops.sync_runs",
    "ops.sync_rejections",
    "ops.reconciliation_runs",
    "ops.reconciliation_fields",
    "ops.sync_assignments",
)


def crm_row(user: str, segment: str = "regular", revenue: str = "10.50") -> tuple[Any, ...]:
    return (user, segment, revenue, 1, SEEN, "CA")


def email_row(user: str, window: str = "2026-03-09") -> tuple[Any, ...]:
    key = f"{user}:abandoned_search:{window}"
    address = f"{user}@example.org"
    return (key, user, address, f"Name of {user}", "fr-CA", "America/Toronto", "hotels in Lisbon", "Lisbon", SEEN)


class Scene:
    """One home; `clear` empties it before each test."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._unseen = True  # is there anything that no suite has looked at?
        self.redis: redis.Redis = streams.connect(settings)
        self.warehouse = warehouse.connect(settings)
        self.warehouse.execute("CREATE SCHEMA activation")
        for table, columns in COLUMNS.items():
            self.warehouse.execute(f"CREATE TABLE {table} ({columns})")

    def close(self) -> None:
        self.warehouse.close()
        self.redis.close()

    def clear(self) -> None:
        self.redis.flushall()
        self.sql("crm", "DROP SCHEMA IF EXISTS crm CASCADE")
        self.sql("ledger", "DROP SCHEMA IF EXISTS activation CASCADE")
        with warehouse.transaction(self.warehouse):
            for table in (*COLUMNS, *OPS):
                self.warehouse.execute(f"DELETE FROM {table}")
            self.verdicts(**dict.fromkeys(SUITES, "pass"))

    def model(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        """What the model says now."""
        self._unseen = True
        places = ", ".join(f"({', '.join('?' * len(row))})" for row in rows)
        with warehouse.transaction(self.warehouse):
            self.warehouse.execute(f"DELETE FROM {table}")
            if rows:
                self.warehouse.execute(f"INSERT INTO {table} VALUES {places}", [each for row in rows for each in row])

    def verdicts(self, at: datetime = NOW, **outcomes: str) -> None:
        """A later run of some suites: two expectations each, the first of them passed."""
        self._unseen = True
        rows = [
            {"run_id": f"{at:%H%M}", "suite": suite, "outcome": each, "checked_at": at.replace(tzinfo=None)}
            for suite, outcome in outcomes.items()
            for each in ("pass", outcome)
        ]
        record.rows(self.warehouse, "ops.validation_results", rows)

    def quarantine(self, suite: str, *keys: dict[str, str], at: datetime = NOW) -> None:
        """Rows that the run of a suite at that time put in quarantine."""
        held = [{"run_id": f"{at:%H%M}", "suite": suite, "key": json.dumps(key)} for key in keys]
        record.rows(self.warehouse, "ops.quarantined_rows", held)

    def look(self) -> None:
        """The last run of each suite was on the data as it is now."""
        if not self._unseen:
            return
        snapshot = warehouse.snapshot_id(self.warehouse)
        with warehouse.transaction(self.warehouse):
            self.warehouse.execute("DELETE FROM ops.validated_tables")
            self.warehouse.execute(
                "INSERT INTO ops.validated_tables (run_id, suite, snapshot_id) "
                "SELECT max_by(run_id, (checked_at, run_id)), suite, ? FROM ops.validation_results GROUP BY suite",
                [snapshot],
            )
        self._unseen = False

    def run(self, name: str, *, looked: bool = True, **options: Any) -> activations.SyncResult:
        """Run a sync; unless told otherwise, its suites have just looked."""
        options.setdefault("now", NOW)
        if looked:
            self.look()
        return activations.run_sync(self.settings, name, **options)

    def reconcile(self, name: str, **options: Any) -> activations.ReconcileResult:
        self.look()
        return activations.reconcile(self.settings, name, now=NOW, **options)

    def sql(self, database: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(services.postgres_dsn(self.settings, database), options="-c TimeZone=UTC") as found:
            cursor = found.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def lake(self, query: str) -> list[tuple[Any, ...]]:
        return self.warehouse.execute(query).fetchall()

    def outbox(self) -> list[dict[str, Any]]:
        return [json.loads(fields[b"data"]) for _, fields in self.redis.xrange("searchflow:email:outbox")]

    def reco(self, user: str) -> dict[str, str]:
        found = self.redis.hgetall(f"searchflow:reco:{user}")
        return {name.decode(): value.decode() for name, value in found.items()}
