"""Maintenance flow: the lake stays small and quick, with inlined rows flushed, small files merged, old snapshots, files
and stream entries gone; and so does the log of syncs.

Runs every hour, beside whatever else runs.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

import activations
from flows.support import is_retryable, stage, table_artifact, utc_now
from searchflow import maintenance
from searchflow.clock import server_now
from searchflow.settings import load_settings


@task(retries=2, retry_delay_seconds=10, retry_condition_fn=is_retryable, cache_policy=NO_CACHE)
def tidy_lake() -> maintenance.Upkeep:
    """Run all steps of the lake's maintenance, in order."""
    return maintenance.run(load_settings(), now=server_now())


@task(retries=2, retry_delay_seconds=10, retry_condition_fn=is_retryable, cache_policy=NO_CACHE)
def tidy_ledger() -> activations.Pruned:
    """Remove from the log what syncs did longer ago than the log is kept."""
    return activations.prune_log(load_settings(), now=utc_now())


@flow(name="maintenance")
def maintain() -> dict[str, Any]:
    """Tidy the lake and the log of syncs. Return files and snapshots before and after, and what left the log."""
    settings = load_settings()
    with stage(settings, "maintenance") as noted:
        upkeep = tidy_lake()
        noted.rows_in, noted.rows_out = upkeep.files_before, upkeep.files_after
        pruned = tidy_ledger()
    get_run_logger().info("%s %s", upkeep, pruned)
    counts = asdict(upkeep) | {f"sync_{name}_pruned": count for name, count in asdict(pruned).items()}
    table_artifact("lake-upkeep", [counts], "Files and snapshots before and after, and what left the log of syncs")
    return counts
