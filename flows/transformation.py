"""The models are up to date: every new event is in them, days touched by late events are restated, audits have passed.

Runs every five minutes, and in the pipeline after ingestion. The scheduling is SQLMesh's own; each model appears here
as a task run with its intervals, rows, duration and audits.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.support import models_at_rest, stage, table_artifact, utc_now
from searchflow import transformation
from searchflow.ingestion import cut
from searchflow.progress import progress
from searchflow.settings import load_settings


@task(cache_policy=NO_CACHE, task_run_name="sqlmesh-{environment}")
def run_models(environment: str) -> transformation.TransformationResult:
    """Plan when model files changed, else run what is due."""
    settings, log = load_settings(), get_run_logger()
    with models_at_rest(settings, environment), progress("transforming") as bar:

        def on_progress(step: transformation.ModelProgress) -> None:
            bar.update(done=step.models_done, total=step.models_total)
            if step.state != "started":
                log.info("%s: %s", step.model, step.state)

        now = cut.take(settings, utc_now)  # ingestion goes on: what is committed from here on is left to the next run
        result = transformation.transform(settings, environment=environment, now=now, on_progress=on_progress)
    for warning in result.warnings:
        log.warning("%s", warning)
    return result


@task(cache_policy=NO_CACHE, task_run_name="{name}")
def model(name: str, run: dict[str, Any]) -> None:
    """One model of the run, as a task of its own, with its intervals, rows, duration and audits."""
    get_run_logger().info("%s", run)


@flow(name="transformation")
def transform(environment: str = "prod") -> dict[str, Any]:
    """Bring the models of `environment` up to date. Returns totals and one entry a model.

    Raises:
        TransformationFailed: a model or an audit failed; names it, with the first rows that break the audit.
    """
    settings = load_settings()
    with stage(settings, "transformation") as noted:
        result = run_models(environment)
        for run in result.models:
            model(run.name, asdict(run))
        noted.rows_in, noted.rows_out = result.new_batches, len(result.models)
        rows = [
            {
                "model": run.name,
                "status": run.status,
                "rows": run.rows if run.rows is not None else "",
                "seconds": round(run.duration_s, 2),
                "audits passed": run.audits_passed,
                "audits failed": run.audits_failed,
            }
            for run in result.models
        ]
        table_artifact("model-runs", rows, f"{len(rows)} models in {result.duration_s:.1f} s ({result.mode})")
    return {
        "mode": result.mode,
        "models": len(result.models),
        "restated_days": [day.isoformat() for day in result.restated_days],
        "seconds": round(result.duration_s, 2),
    }
