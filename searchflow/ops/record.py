"""Records: the platform's own tables (schema `ops`, append-only) and how rows get there.

Small appends are inlined in the catalog; the maintenance flow flushes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from searchflow import event_types

GUARD = "(guard)"
"""The row of a position table that every writer of that event type updates, so that their transactions conflict."""

SHARDS = (*event_types.NAMES, "file", "direct")
EVENT_TYPES = "ops.event_types"
"""The declared event types, for SQL. Unlike the other tables, this one holds what is true now."""
_POSITIONS = """
        source VARCHAR, position VARCHAR, version BIGINT, batch_id VARCHAR, updated_at TIMESTAMP, watermark TIMESTAMP"""

TABLES: dict[str, str] = {
    **{f"ops.position_{shard}": _POSITIONS for shard in SHARDS},
    EVENT_TYPES: """
        event_type VARCHAR, title VARCHAR, plural VARCHAR, stream VARCHAR, raw_table VARCHAR, refers_to VARCHAR[]""",
    "ops.ingestion_batches": """
        batch_id VARCHAR, shard VARCHAR, event_type VARCHAR, source VARCHAR, started_at TIMESTAMP,
        committed_at TIMESTAMP, received BIGINT, stored BIGINT, duplicates BIGINT, dead_letters BIGINT, late BIGINT,
        first_event_ts TIMESTAMP, last_event_ts TIMESTAMP, touched_days DATE[], position VARCHAR,
        traceparent VARCHAR""",
    "ops.ingestion_metrics": """
        measured_at TIMESTAMP, source VARCHAR, seconds DOUBLE, received BIGINT, stored BIGINT, duplicates BIGINT,
        dead_letters BIGINT, late BIGINT, events_per_second DOUBLE, backlog BIGINT, lag_seconds DOUBLE""",
    "ops.erased_rows": """
        erasure_id VARCHAR, batch_id VARCHAR, table_name VARCHAR, rows BIGINT, erased_at TIMESTAMP""",
    "ops.erased_days": """
        mark_id VARCHAR, erasure_id VARCHAR, day DATE, erased_at TIMESTAMP""",
    "ops.arrivals": """
        batch_id VARCHAR, committed_at TIMESTAMP, event_type VARCHAR, source VARCHAR, events BIGINT, within_1m BIGINT,
        within_5m BIGINT, within_1h BIGINT, within_6h BIGINT, within_24h BIGINT, slowest_seconds DOUBLE,
        watermark TIMESTAMP, within_72h BIGINT, within_168h BIGINT, live BOOLEAN""",
    "ops.late_days": """
        batch_id VARCHAR, committed_at TIMESTAMP, event_type VARCHAR, source VARCHAR, event_date DATE, events BIGINT,
        watermark TIMESTAMP""",
    "ops.schema_changes": """
        event_type VARCHAR, field VARCHAR, kind VARCHAR, json_type VARCHAR, previous_types VARCHAR,
        first_seen_at TIMESTAMP, example VARCHAR, event_id VARCHAR, source VARCHAR, batch_id VARCHAR""",
    "ops.transformed_batches": """
        environment VARCHAR, batch_id VARCHAR, shard VARCHAR, seen_at TIMESTAMP""",
    "ops.promotions": """
        promoted_at TIMESTAMP, promoted_by VARCHAR, plan_id VARCHAR, version VARCHAR, models_added VARCHAR[],
        models_changed VARCHAR[], models_removed VARCHAR[], variables VARCHAR""",
    "ops.model_runs": """
        run_id VARCHAR, environment VARCHAR, model VARCHAR, interval_start TIMESTAMP, interval_end TIMESTAMP,
        started_at TIMESTAMP, duration_s DOUBLE, rows BIGINT, audits_passed BIGINT, audits_failed BIGINT,
        status VARCHAR, error VARCHAR, traceparent VARCHAR, known_until TIMESTAMP, lake_snapshot BIGINT,
        due_at TIMESTAMP""",
    "ops.kpi_versions": """
        kpi_date DATE, metric VARCHAR, value DOUBLE, previous_value DOUBLE, recorded_at TIMESTAMP,
        previous_at TIMESTAMP, batches VARCHAR[], run_id VARCHAR, late_events BIGINT, """
    + ", ".join(f"{each.late_column} BIGINT" for each in event_types.EVENT_TYPES.values()),
    "ops.validation_results": """
        run_id VARCHAR, suite VARCHAR, table_name VARCHAR, expectation VARCHAR, column_name VARCHAR, severity VARCHAR,
        success BOOLEAN, outcome VARCHAR, sentence VARCHAR, observed VARCHAR, unexpected_count BIGINT,
        checked_at TIMESTAMP""",
    "ops.validated_tables": """
        run_id VARCHAR, suite VARCHAR, checked_at TIMESTAMP, snapshot_id BIGINT, scope VARCHAR, rows_in BIGINT,
        rows_passed BIGINT, rows_quarantined BIGINT, duration_s DOUBLE, fingerprint VARCHAR""",
    "ops.held_events": """
        event_type VARCHAR, event_id VARCHAR, model VARCHAR, version VARCHAR, reason VARCHAR, held_at TIMESTAMP,
        run_id VARCHAR, released_at TIMESTAMP""",
    "ops.quarantined_rows": """
        run_id VARCHAR, suite VARCHAR, key VARCHAR, expectations VARCHAR[], quarantined_at TIMESTAMP""",
    "ops.sync_runs": """
        run_id VARCHAR, sync VARCHAR, started_at TIMESTAMP, finished_at TIMESTAMP, status VARCHAR, added BIGINT,
        changed BIGINT, removed BIGINT, unchanged BIGINT, rejected BIGINT, retried BIGINT, mode VARCHAR,
        error VARCHAR, quarantined BIGINT, approved_by VARCHAR, held_out BIGINT, model VARCHAR,
        traceparent VARCHAR""",
    "ops.sync_rejections": """
        run_id VARCHAR, sync VARCHAR, key VARCHAR, reason VARCHAR, payload VARCHAR, rejected_at TIMESTAMP""",
    "ops.reconciliation_runs": """
        run_id VARCHAR, sync VARCHAR, checked_at TIMESTAMP, expected BIGINT, found BIGINT, missing BIGINT,
        different BIGINT, unexpected BIGINT, repaired BIGINT, lost_writes BIGINT, foreign_edits BIGINT,
        foreign_deletes BIGINT, foreign_rows BIGINT, settled BIGINT, accepted BIGINT""",
    "ops.reconciliation_fields": """
        run_id VARCHAR, sync VARCHAR, field VARCHAR, drift VARCHAR, different BIGINT""",
    "ops.email_suppressions": """
        user_id VARCHAR, address_hash VARCHAR, suppressed BOOLEAN, reason VARCHAR, changed_at TIMESTAMP,
        changed_by VARCHAR""",
    "ops.email_runs": """
        run_id VARCHAR, started_at TIMESTAMP, finished_at TIMESTAMP, status VARCHAR, taken BIGINT, sent BIGINT,
        withdrawn BIGINT, suppressed BIGINT, capped BIGINT, expired BIGINT, refused BIGINT, held BIGINT,
        postponed BIGINT, retried BIGINT, waiting BIGINT, error VARCHAR""",
    "ops.sync_assignments": """
        sync VARCHAR, seed VARCHAR, share DOUBLE, unit VARCHAR, arm VARCHAR, assigned_at TIMESTAMP, run_id VARCHAR""",
    "ops.stage_runs": """
        run_id VARCHAR, stage VARCHAR, started_at TIMESTAMP, duration_s DOUBLE, status VARCHAR, rows_in BIGINT,
        rows_out BIGINT, rejected BIGINT, error VARCHAR, traceparent VARCHAR""",
    "ops.service_levels": """
        checked_at TIMESTAMP, level VARCHAR, target VARCHAR, measure VARCHAR, state VARCHAR, value DOUBLE,
        bound VARCHAR, limit_value DOUBLE, unit VARCHAR, since TIMESTAMP, sentence VARCHAR""",
}
"""Table -> its columns. The tables are created by `searchflow.tables.prepare`."""


def rows(connection: duckdb.DuckDBPyConnection, table: str, records: Sequence[Mapping[str, Any]]) -> int:
    """Append `records` to an ops table in one statement. Missing columns are null. Return how many rows were appended.

    Raises:
        KeyError: the table or a column is not declared in `TABLES`.
    """
    if not records:
        return 0
    declared = [part.split()[0] for part in TABLES[table].replace("\n", " ").split(",")]
    unknown = set().union(*records) - set(declared)
    if unknown:
        raise KeyError(f"{table} has no column {sorted(unknown)}")
    used = [name for name in declared if any(name in record for record in records)]
    appended = pa.table({name: [record.get(name) for record in records] for name in used})
    connection.register("appended_rows", appended)
    try:
        connection.execute(f"INSERT INTO {table} ({', '.join(used)}) SELECT {', '.join(used)} FROM appended_rows")
    finally:
        connection.unregister("appended_rows")
    return len(records)
