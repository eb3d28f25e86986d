"""Views over the platform's own tables, for SQL, service levels and metrics alike: each figure is defined once, here.

The views are made with the tables (`searchflow.tables.prepare`), not by SQLMesh: what watches the models must not wait
for them. A view whose text has changed is rebuilt.
"""

from __future__ import annotations

import hashlib

import duckdb


def sync_latency(since: str = "TIMESTAMP '1970-01-01'") -> str:
    """Return the SQL that follows each commit of live events to each destination.

    Its columns tell when the commit was stored, taken by a transformation, in the sync's model, and there after the
    first sync that began when the model was made. Null: not yet. Loads of history are left out.

    Nothing older than `since` is read: the cost follows it.
    """
    return f"""
        WITH commits AS (
            SELECT batches.batch_id, batches.event_at, batches.moment AS stored_at, seen.moment AS taken_at
            FROM (
                SELECT batch_id, last_event_ts AS event_at, committed_at AS moment FROM ops.ingestion_batches
                WHERE stored > 0 AND last_event_ts >= committed_at - INTERVAL 1 HOUR
            ) AS batches
            LEFT JOIN (
                SELECT * FROM (SELECT batch_id, seen_at AS moment FROM ops.transformed_batches WHERE environment = 'prod')
                WHERE moment >= {since}
            ) AS seen ON seen.batch_id = batches.batch_id
            WHERE batches.moment >= {since}
        ), made AS (
            SELECT model, moment, moment + to_microseconds((duration_s * 1000000)::BIGINT) AS modelled_at
            FROM (
                SELECT model, started_at AS moment, duration_s FROM ops.model_runs
                WHERE status = 'succeeded' AND environment = 'prod'
            ) WHERE moment >= {since}
        ), sent AS (
            SELECT sync, moment, delivered_at
            FROM (
                SELECT sync, started_at AS moment, finished_at AS delivered_at FROM ops.sync_runs
                WHERE status IN ('done', 'unchanged', 'partial') AND mode IN ('run', 'approved')
            ) WHERE moment >= {since}
        ), wanted AS (
            SELECT commits.*, syncs.sync, syncs.model
            FROM commits CROSS JOIN (
                SELECT sync, arg_max(model, started_at) AS model FROM ops.sync_runs WHERE model IS NOT NULL GROUP BY sync
            ) AS syncs
        ), modelled AS (
            SELECT wanted.*, made.modelled_at
            FROM wanted ASOF LEFT JOIN made ON made.model = wanted.model AND made.moment >= wanted.taken_at
        )
        SELECT modelled.sync, modelled.batch_id, modelled.event_at, modelled.stored_at, modelled.taken_at,
               modelled.modelled_at, sent.delivered_at,
               date_diff('millisecond', modelled.event_at, sent.delivered_at) / 1000.0 AS latency_s
        FROM modelled
        ASOF LEFT JOIN sent ON sent.sync = modelled.sync AND sent.moment >= modelled.modelled_at"""


VIEWS: dict[str, str] = {
    # All runs (stages, models, syncs, suites) in one shape: what failed, how long it took, at which rate.
    "ops.runs": """
        SELECT kind, name, run_id, started_at, duration_s, status, ok, rows,
               rows / nullif(duration_s, 0) AS rows_per_second, error
        FROM (
            SELECT 'stage' AS kind, stage AS name, run_id, started_at, duration_s, status,
                   status IN ('completed', 'stopped') AS ok,
                   coalesce(nullif(rows_out, 0), rows_in) AS rows, error
            FROM ops.stage_runs
            UNION ALL
            SELECT 'model', model, run_id, started_at, duration_s, status, status = 'succeeded', rows, error
            FROM ops.model_runs WHERE environment = 'prod' AND status <> 'skipped'
            UNION ALL
            SELECT 'sync', sync, run_id, started_at, date_diff('millisecond', started_at, finished_at) / 1000.0, status,
                   status IN ('done', 'unchanged', 'partial'), added + changed + removed, error
            FROM ops.sync_runs
            UNION ALL
            SELECT 'suite', suite, run_id, checked_at, duration_s, 'checked', TRUE, rows_in, NULL
            FROM ops.validated_tables
        )""",
    # The moment up to which a model was made: events received until then are in it. `lake_snapshot` is the state of the
    # lake right after its run, so all that it was made from is there as it was. `due_at` is when its schedule makes it
    # next.
    "ops.made_until": """
        SELECT environment, model, known_until, lake_snapshot, due_at, started_at AS made_at, run_id
        FROM ops.model_runs WHERE status = 'succeeded' AND lake_snapshot IS NOT NULL
        QUALIFY row_number() OVER (PARTITION BY environment, model ORDER BY lake_snapshot DESC, started_at DESC) = 1""",
    "ops.error_rates": """
        SELECT date_trunc('hour', started_at) AS hour, kind, name, count(*) AS runs,
               count(*) FILTER (WHERE NOT ok) AS failures, count(*) FILTER (WHERE NOT ok) / count(*) AS error_rate
        FROM ops.runs WHERE kind <> 'suite' GROUP BY ALL""",
    "ops.events_per_minute": """
        SELECT date_trunc('minute', committed_at) AS minute, coalesce(event_type, 'any') AS event_type,
               sum(received)::BIGINT AS received, sum(stored)::BIGINT AS stored, sum(duplicates)::BIGINT AS duplicates,
               sum(dead_letters)::BIGINT AS dead_letters
        FROM ops.ingestion_batches WHERE shard <> 'replay' GROUP BY ALL""",
    "ops.pass_rates": """
        SELECT suite, run_id, max(checked_at) AS checked_at, count(*) AS checks,
               count(*) FILTER (WHERE success) AS held, count(*) FILTER (WHERE success) / count(*) AS pass_rate
        FROM ops.validation_results GROUP BY suite, run_id""",
    "ops.sync_latency": sync_latency(),
}
"""Name of a view -> its SELECT."""


def prepare(connection: duckdb.DuckDBPyConnection, catalog: str) -> None:
    """Make the views that are missing or whose text has changed. A comment on each says which text it was made from."""
    known: dict[str, str | None] = dict(
        connection.execute(
            "SELECT schema_name || '.' || view_name, comment FROM duckdb_views() WHERE database_name = ?", [catalog]
        ).fetchall()
    )
    versions = {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in VIEWS.items()}
    stale = [name for name, version in versions.items() if known.get(name) != version]
    if stale:  # two commits for all of them
        connection.execute(
            "BEGIN; " + "; ".join(f"CREATE OR REPLACE VIEW {name} AS {VIEWS[name]}" for name in stale) + "; COMMIT"
        )
        notes = "; ".join(f"COMMENT ON VIEW {name} IS '{versions[name]}'" for name in stale)
        connection.execute(f"BEGIN; {notes}; COMMIT")
