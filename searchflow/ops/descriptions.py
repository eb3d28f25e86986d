"""Descriptions of those of the platform's own tables that no model reads: `external_models.yaml` describes the others."""

from __future__ import annotations

from searchflow.ops.record import SHARDS

DESCRIPTIONS = {
    "raw.dead_letters": "Input that breaks the contract, byte for byte, with the reason: one row a line",
    "ops.email_runs": "Runs of the e-mail delivery: one row a run that did something",
    "ops.erased_days": "Days that erasures changed, for which models are made again: one row an erasure and day",
    "ops.erased_rows": "Rows that erasures removed: one row an erasure, batch and table",
    "ops.error_rates": "Runs and failures: one row an hour and kind of run",
    "ops.events_per_minute": "Events received, stored and refused: one row a minute and event type",
    "ops.ingestion_metrics": "How fast ingestion was and how far behind: one row a measurement",
    "ops.late_days": "Days that late events touched: one row a commit and day",
    "ops.made_until": "Up to which moment a model was made: one row a model and environment",
    "ops.pass_rates": "The share of checks that held: one row a suite and run",
    "ops.promotions": "Plans that became production: one row a promotion",
    "ops.quarantined_rows": "Rows that break a critical check, by their key: one row a row, suite and run",
    "ops.reconciliation_fields": "Which fields of a destination differed: one row a field, sync and run",
    "ops.reconciliation_runs": "Comparisons of destinations with what was sent: one row a sync and run",
    "ops.runs": "Every run of stages, models, syncs and suites in one shape: one row a run",
    "ops.schema_changes": "Fields of events that appeared or changed their type: one row a change",
    "ops.service_levels": "What each service level was worth: one row a level, target and check",
    "ops.stage_runs": "Runs of the stages (generate, ingest, transform and so on): one row a run",
    "ops.sync_latency": "How long an event took to each destination: one row a commit and sync",
    "ops.sync_rejections": "Rows that a destination refused: one row a row and run",
    "ops.sync_runs": "Runs of syncs: one row a sync and run",
    "ops.transformed_batches": "Which commits a transformation has seen: one row a commit and environment",
    "ops.validated_tables": "Tables that a suite looked at: one row a suite and run",
    "ops.validation_results": "Checks of the quality suites: one row a check and run",
    **{f"ops.position_{shard}": f"How far ingestion has read ({shard}): one row a source" for shard in SHARDS},
}
"""Table -> the sentence that describes it."""
