"""Queries about how the platform itself is doing: what came in, what ran, how fresh each table is, what was refused."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dashboards import PROCESS
from dashboards.source import Reading, current_settings
from searchflow.ingestion.accounting import Accounting, accounting
from searchflow.ops import audit_log


def accounts(reading: Reading) -> Accounting:
    """Return the accounting identity over everything that ever came in, by the platform's own definition."""
    return accounting(reading.cursor)


def late_events(reading: Reading) -> int:
    """Return how many events ever arrived late."""
    return int(reading.row("SELECT coalesce(sum(late), 0)::BIGINT AS n FROM ops.ingestion_batches")["n"])


def arrivals(reading: Reading, since: datetime) -> list[dict[str, Any]]:
    """Return events that came in, by hour and type."""
    return reading.rows(
        """
        SELECT date_trunc('hour', committed_at) AS hour, event_type, sum(received)::BIGINT AS received
        FROM ops.ingestion_batches WHERE committed_at >= $since AND event_type IN (SELECT event_type FROM ops.event_types)
        GROUP BY ALL ORDER BY hour, event_type
        """,
        {"since": since},
    )


def last_commit(reading: Reading) -> datetime | None:
    """Return when something was last stored."""
    at: datetime | None = reading.row("SELECT max(committed_at) AS at FROM ops.ingestion_batches")["at"]
    return at


def dead_letters(reading: Reading) -> list[dict[str, Any]]:
    """Return refused inputs by reason, the most frequent first."""
    return reading.rows(
        """
        SELECT reason_code, count(*) AS letters, count(*) FILTER (status = 'open') AS open,
               count(*) FILTER (status = 'replayed') AS replayed, count(*) FILTER (status = 'discarded') AS discarded,
               max(received_at) AS newest
        FROM raw.dead_letters GROUP BY reason_code ORDER BY letters DESC, reason_code
        """
    )


def stages(reading: Reading, since: datetime) -> list[dict[str, Any]]:
    """Return the newest run of each stage, and how its runs since then went."""
    return reading.rows(
        """
        WITH ranked AS (
            SELECT *, row_number() OVER (PARTITION BY stage ORDER BY started_at DESC) AS recency,
                   count(*) FILTER (started_at >= $since) OVER (PARTITION BY stage) AS runs,
                   count(*) FILTER (started_at >= $since AND status <> 'completed')
                       OVER (PARTITION BY stage) AS failures,
                   median(duration_s) FILTER (started_at >= $since) OVER (PARTITION BY stage) AS typical_s
            FROM ops.stage_runs
        )
        SELECT stage, status, started_at, duration_s, typical_s, runs, failures, rows_in, rows_out, rejected, error
        FROM ranked WHERE recency = 1 ORDER BY started_at DESC, stage
        """,
        {"since": since},
    )


def models(reading: Reading) -> list[dict[str, Any]]:
    """Return the newest run of each model."""
    return reading.rows(
        """
        SELECT model, status, started_at, duration_s, rows, audits_passed, audits_failed, interval_end, error
        FROM ops.model_runs WHERE environment = 'prod'
        QUALIFY row_number() OVER (PARTITION BY model ORDER BY started_at DESC, run_id) = 1
        ORDER BY duration_s DESC NULLS LAST, model
        """
    )


def syncs(reading: Reading) -> list[dict[str, Any]]:
    """Return the newest run of each sync."""
    return reading.rows(
        """
        SELECT sync, status, started_at, added, changed, removed, unchanged, rejected, retried, mode, error
        FROM ops.sync_runs QUALIFY row_number() OVER (PARTITION BY sync ORDER BY started_at DESC, run_id) = 1
        ORDER BY sync
        """
    )


def freshness(reading: Reading) -> list[dict[str, Any]]:
    """Return the newest event and the last load of each raw table and model."""
    return reading.rows(
        """
        SELECT table_name, last_event_ts, last_loaded_at FROM ops.freshness
        WHERE table_name NOT LIKE 'staging.%' ORDER BY last_loaded_at NULLS FIRST, table_name
        """
    )


def problems(reading: Reading) -> list[dict[str, Any]]:
    """Return checks that did not pass in the newest run of their suite."""
    return reading.rows(
        """
        WITH latest AS (
            SELECT suite, run_id FROM ops.validation_results
            QUALIFY row_number() OVER (PARTITION BY suite ORDER BY checked_at DESC, run_id DESC) = 1
        )
        SELECT suite, outcome, sentence, observed, unexpected_count, checked_at
        FROM ops.validation_results JOIN latest USING (suite, run_id) WHERE outcome <> 'pass'
        ORDER BY list_position(['error', 'fail', 'quarantine', 'warn'], outcome), suite, expectation LIMIT 200
        """
    )


LEVELS = "ops.service_levels"


def levels(reading: Reading) -> list[dict[str, Any]]:
    """Return the newest state of each service level, the broken ones first."""
    return reading.rows(
        """
        SELECT * FROM (SELECT level, target, state, value, bound, limit_value, unit, since, sentence, checked_at
                       FROM ops.service_levels
                       QUALIFY row_number() OVER (PARTITION BY level, target ORDER BY checked_at DESC) = 1)
        ORDER BY list_position(['broken', 'unknown', 'kept'], state), level, target
        """
    )


def rates(reading: Reading, since: datetime) -> list[dict[str, Any]]:
    """Return events a second, what waits and for how long, by source and 5 minutes: the busiest moment of each."""
    return reading.rows(
        """
        SELECT time_bucket(INTERVAL 5 MINUTE, measured_at) AS at, source, max(events_per_second)::DOUBLE AS rate,
               max(backlog)::BIGINT AS backlog, max(lag_seconds)::DOUBLE AS lag
        FROM ops.ingestion_metrics WHERE measured_at >= $since GROUP BY ALL ORDER BY 1, 2
        """,
        {"since": since},
    )


def letters_by_day(reading: Reading, since: datetime) -> list[dict[str, Any]]:
    """Return refused inputs by day of arrival and reason."""
    return reading.rows(
        """
        SELECT received_at::DATE AS day, reason_code, count(*)::BIGINT AS letters FROM raw.dead_letters
        WHERE received_at >= $since GROUP BY ALL ORDER BY day, reason_code
        """,
        {"since": since},
    )


def quality_by_run(reading: Reading, since: datetime) -> list[dict[str, Any]]:
    """Return the share of checks that passed, by hour: what is checked more often is one point."""
    return reading.rows(
        """
        SELECT date_trunc('hour', checked_at) AS hour, count(*)::BIGINT AS checks,
               count(*) FILTER (outcome = 'pass')::BIGINT AS passed,
               count(*) FILTER (outcome IN ('fail', 'error'))::BIGINT AS failed,
               count(*) FILTER (outcome = 'pass') / count(*)::DOUBLE AS share
        FROM ops.validation_results WHERE checked_at >= $since GROUP BY ALL ORDER BY hour
        """,
        {"since": since},
    )


def quarantined(reading: Reading) -> list[dict[str, Any]]:
    """Return rows that the newest run of each suite checked, passed and put in quarantine."""
    return reading.rows(
        """
        SELECT suite, rows_in, rows_passed, rows_quarantined, duration_s, checked_at FROM ops.validated_tables
        QUALIFY row_number() OVER (PARTITION BY suite ORDER BY checked_at DESC, run_id DESC) = 1
        ORDER BY rows_quarantined DESC, suite
        """
    )


def sync_history(reading: Reading, since: datetime) -> list[dict[str, Any]]:
    """Return the rows sent by each sync and day."""
    return reading.rows(
        """
        SELECT started_at::DATE AS day, sync, sum(added + changed + removed)::BIGINT AS sent,
               sum(rejected)::BIGINT AS rejected, count(*)::BIGINT AS runs
        FROM ops.sync_runs WHERE started_at >= $since GROUP BY ALL ORDER BY day, sync
        """,
        {"since": since},
    )


def drift(reading: Reading) -> list[dict[str, Any]]:
    """Return the newest reconciliation of each sync: what its destination holds beside what it should hold."""
    return reading.rows(
        """
        SELECT sync, checked_at, expected, found, missing, different, unexpected, repaired FROM ops.reconciliation_runs
        QUALIFY row_number() OVER (PARTITION BY sync ORDER BY checked_at DESC, run_id DESC) = 1 ORDER BY sync
        """
    )


def schema_changes(reading: Reading) -> list[dict[str, Any]]:
    """Return fields that producers sent for the first time, or with another type: the newest first."""
    return reading.rows(
        """
        SELECT event_type, field, kind, json_type, previous_types, first_seen_at, source FROM ops.schema_changes
        ORDER BY first_seen_at DESC, event_type, field LIMIT 50
        """
    )


def audit_entries(*, own_reads: bool) -> list[dict[str, Any]]:
    """Return the newest entries of the audit log: who or what read or changed which table, with or without these
    pages' reads."""
    return audit_log.show(current_settings(), limit=100, without=None if own_reads else (PROCESS, "read"))


RESTATEMENTS = "ops.kpi_restatements"


def restatements(reading: Reading) -> list[dict[str, Any]]:
    """Return key figures whose day was made again with another value, the newest first."""
    return reading.rows(
        """
        SELECT restated_at, kpi_date, metric, old_value, new_value, change, cause, late_events
        FROM ops.kpi_restatements ORDER BY restated_at DESC, kpi_date DESC, metric LIMIT 200
        """
    )
