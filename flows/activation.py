"""Activation flow: destinations hold what the models say, and were sent only what changed, behind a passed quality
gate.

Each sync runs at the schedule in its file, and all of them at the end of the pipeline.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import deployment
from prefect.tasks import exponential_backoff

import activations
from flows.support import is_retryable, models_at_rest, stage, table_artifact, utc_now
from searchflow.errors import DeliveryFailed, NegativeAnswer
from searchflow.progress import progress
from searchflow.settings import Settings, load_settings

FOR_PEOPLE = ("blocked", "stale", "samples")
"""Fields of a dry run that are for the person who asked, not for logs and artifacts."""


@task(
    task_run_name="sync-{name}",
    retries=2,  # the engine itself retries single batches; this is for a destination that restarts
    retry_delay_seconds=exponential_backoff(backoff_factor=5),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_retryable,
    cache_policy=NO_CACHE,
)
def run_sync(name: str, now: datetime, dry_run: bool, approve: bool, retry_rejected: bool = False) -> dict[str, Any]:
    """Send what changed since the last acknowledged delivery."""
    with progress(f"sync {name}") as bar:

        def on_progress(done: int, total: int) -> None:
            bar.update(done=done, total=total)

        result = activations.run_sync(
            load_settings(),
            name,
            now=now,
            dry_run=dry_run,
            approve=approve,
            retry_rejected=retry_rejected,
            on_progress=on_progress,
        )
    counts: dict[str, Any] = asdict(result)
    for field in FOR_PEOPLE:
        del counts[field]
    get_run_logger().info("%s", counts)
    if dry_run:
        counts |= {"blocked": list(result.blocked), "stale": list(result.stale)}
        counts |= {"samples": [asdict(sample) for sample in result.samples]}
    return counts


@task(cache_policy=NO_CACHE)
def look_again(names: list[str], now: datetime) -> list[str]:
    """Run the suites that have not seen the data these syncs are about to send, or never ran. Return which those were."""
    settings = load_settings()
    suites = activations.stale_suites(settings, names)
    if suites:
        from expectations import validate  # imports Great Expectations: 3 s, only here

        get_run_logger().info("suites that have to look again first: %s", ", ".join(suites))
        validate(settings, "gate", now=now, only=suites, build_report=False)
    return suites


def _too_early(settings: Settings, names: list[str]) -> list[str]:
    """Return syncs that their schedule runs before the first transformation: there is nothing to send, and no fault."""
    if deployment.id is None:
        return []
    early = activations.not_made(settings, names)
    if early:
        get_run_logger().info("nothing to send before the first transformation: %s", ", ".join(early))
    return early


@flow(name="activation")
def activate(
    syncs: list[str] | None = None,
    dry_run: bool = False,
    approve: bool = False,
    retry_rejected: bool = False,
) -> dict[str, Any]:
    """Run syncs by name (default: all), after those suites of their gates that have to look again.

    A sync that is blocked or fails does not stop the others.

    Who approves is the account that runs this process; the audit log names it.

    Raises:
        NegativeAnswer: after all have run, when any was blocked or failed.
    """
    settings = load_settings()
    names = [activations.load_sync(name).name for name in syncs] if syncs else sorted(activations.load_syncs())
    results: dict[str, Any] = {}
    problems: list[NegativeAnswer] = []
    with models_at_rest(settings), stage(settings, "activation") as noted:
        names = [name for name in names if name not in _too_early(settings, names)]
        if names and not dry_run:
            look_again(names, utc_now())
        for name in names:
            try:
                # Each with its own moment, read when the models are at rest: what it waited for is in what it sends.
                results[name] = run_sync(name, utc_now(), dry_run, approve, retry_rejected)
            except NegativeAnswer as error:
                problems.append(error)
        changes = [sum(int(result[key]) for key in ("added", "changed", "removed")) for result in results.values()]
        noted.rows_out, noted.rejected = sum(changes), sum(int(result["rejected"]) for result in results.values())
        counts = [{key: result[key] for key in result if key not in FOR_PEOPLE} for result in results.values()]
        table_artifact("sync-counts", counts, "What would be sent" if dry_run else "What was sent")
        if len(problems) == 1:
            raise problems[0]
        if problems:
            raise DeliveryFailed(" ".join(str(problem) for problem in problems))
    return results


@flow(name="undo")
def undo(sync: str, run_id: str) -> dict[str, Any]:
    """Restore what a run of a sync changed, and hold the sync until a user approves its next run."""
    settings = load_settings()
    with stage(settings, "undo") as noted:
        result = asdict(activations.undo_run(settings, sync, run_id, now=utc_now()))
        noted.rows_out, noted.rejected = result["restored"] + result["removed"], result["rejected"]
    return result
