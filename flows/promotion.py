"""Promotion flow: the model files become production. What changed is made and audited beside it, then swapped in.

Runs on demand only, for `searchflow deploy`, which has checked the files and asked. Also tells a running follower which
models differ from production.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from flows.model_tasks import ModelTasks
from flows.support import models_at_rest, stage, utc_now
from flows.transformation import draw_lineage, show
from searchflow.ingestion import cut
from searchflow.progress import progress
from searchflow.settings import Settings, load_settings
from searchflow.transformation import ModelProgress, ModelsFailed, TransformationResult, deployment


@flow(name="promotion")
def promote(digest: str | None = None, back: bool = False) -> dict[str, Any]:
    """Promote the working tree; with `back`, promote what was production before.

    `digest`: promote only if the files are still those that were checked.

    Raises:
        TransformationFailed: a model or an audit failed; production is what it was.
    """
    settings = load_settings()
    with stage(settings, "promotion") as noted:
        try:
            result = _promoted(settings, digest, back)
        except ModelsFailed as failed:
            show(failed.result)
            raise
        show(result)
        noted.rows_in, noted.rows_out = result.new_batches, sum(run.rows or 0 for run in result.models)
    draw_lineage(settings)
    return {"mode": result.mode, "models": len(result.models), "seconds": round(result.duration_s, 2)}


def _promoted(settings: Settings, digest: str | None, back: bool) -> TransformationResult:
    tasks = ModelTasks()
    with models_at_rest(settings), progress("promoting") as bar:

        def on_progress(step: ModelProgress) -> None:
            bar.update(done=step.models_done, total=step.models_total)
            tasks.hear(step)

        now = cut.take(settings, utc_now)
        try:
            result = deployment.promote(settings, now=now, back=back, digest=digest, on_progress=on_progress)
        finally:
            tasks.close()
    for warning in result.warnings:
        get_run_logger().warning("%s", warning)
    return result
