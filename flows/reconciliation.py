"""Reconciliation flow: it is known whether destinations still hold what was sent; what was lost or edited is repaired
when asked.

Runs every night.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from datetime import datetime
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

import activations
from flows.activation import look_again
from flows.support import is_retryable, models_at_rest, stage, table_artifact, utc_now
from searchflow.settings import load_settings


@task(
    task_run_name="reconcile-{name}",
    retries=2,
    retry_delay_seconds=exponential_backoff(backoff_factor=5),
    retry_condition_fn=is_retryable,
    cache_policy=NO_CACHE,
)
def compare(name: str, now: datetime, repair: bool) -> dict[str, Any]:
    """Compare one destination with what was acknowledged."""
    result = asdict(activations.reconcile(load_settings(), name, now=now, repair=repair))
    result.pop("samples", None)
    get_run_logger().info("%s", result)
    return result


@flow(name="reconciliation")
def reconcile(syncs: list[str] | None = None, repair: bool = False) -> dict[str, Any]:
    """Compare (and repair) destinations by sync name; default: all."""
    settings = load_settings()
    names = [activations.load_sync(name).name for name in syncs] if syncs else sorted(activations.load_syncs())
    # A repair sends: it stands behind the same gates as a sync, and models stay as they were checked.
    at_rest = models_at_rest(settings) if repair else nullcontext()
    with at_rest, stage(settings, "reconciliation") as noted:
        now = utc_now()
        if repair:
            look_again(names, now)
        results = {name: compare(name, now, repair) for name in names}
        noted.rows_in = sum(int(result["expected"]) for result in results.values())
        noted.rows_out = sum(int(result["found"]) for result in results.values())
        noted.rejected = sum(
            int(result[key]) for result in results.values() for key in ("missing", "different", "unexpected")
        )
        table_artifact("reconciliation", list(results.values()), "Destinations against what was sent")
    return results
