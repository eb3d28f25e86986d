"""The models are up to date: every new event is in them, days touched by late events are restated, audits have passed.

Runs every five minutes, and in the pipeline after ingestion; with `follow_seconds` it goes on in one warm process and
brings new searches into the funnel within seconds. The scheduling is SQLMesh's own; each model appears here
as a task run while it is made, with its days, rows, duration and audits. A model whose audit fails is a failed task with
the rows that break it; models behind it are skipped, all others are made.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from queue import SimpleQueue
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed

import activations.lineage
import dashboards.lineage
from flows.live import LiveTable
from flows.support import RETRYABLE, models_at_rest, stage, stopped_by_signals, table_artifact, utc_now
from searchflow import maintenance, transformation
from searchflow.errors import SearchFlowError
from searchflow.ingestion import cut
from searchflow.progress import progress
from searchflow.settings import Settings, load_settings
from searchflow.transformation import ModelProgress, ModelRun, TransformationResult, page

MOMENT = timedelta(microseconds=1)
"""The end of an interval is the first moment that does not belong to it."""
FIRST = ("marts.fct_search_funnel_daily",)
"""What a follower makes at every pass, with the models before it: the funnel."""
ALL_EVERY = 60.0
"""Seconds between its passes over all models: users, segments and attribution read all history."""
MERGE_EVERY = 300.0
"""Seconds between its merges of the files that ingestion leaves every second; the hourly maintenance is too late for it."""
TROUBLE_PAUSE = 5.0
Told = SimpleQueue[ModelProgress | None]
"""What SQLMesh tells about one model; None when it will tell nothing more."""


@task(cache_policy=NO_CACHE, task_run_name="{name}")
def model(name: str, told: Told) -> State[Any]:
    """One model, from the moment SQLMesh begins with it until it is over."""
    log = get_run_logger()
    while step := told.get():
        if step.state == "succeeded":
            message = summary(step.run)
            log.info("%s", message)
            return Completed(message=message)
        if step.state == "failed":
            for audit, rows in step.run.broken.items():
                table_artifact(artifact_key(name, audit), rows, f"The first rows of {name} that break audit {audit}.")
            return Failed(message=f"{name} {step.run.error}")
        if step.state == "skipped":
            return State(type=StateType.CANCELLED, name="Skipped", message="Not made: a model before it failed.")
        log.info("%s: %d of %d ranges of days", name, len(step.run.intervals), step.run.batches)
    return State(type=StateType.CANCELLED, name="Interrupted", message="The run ended before the model was made.")


class ModelTasks:
    """Begins and ends a task run for each model, as SQLMesh tells: the task waits beside the scheduler, which works.

    With `failures_only` a model is a task run only when it fails: thousands of passes an hour would bury the others.
    """

    def __init__(self, failures_only: bool = False) -> None:
        self._failures_only = failures_only
        self._context = copy_context()  # of the flow: SQLMesh may tell from threads of its own
        self._told: dict[str, Told] = {}
        self._tasks: list[PrefectFuture[Any]] = []

    def hear(self, step: ModelProgress) -> None:
        """One step of one model."""
        if self._failures_only and step.state != "failed":
            return
        if step.model not in self._told:
            told = self._told[step.model] = Told()
            self._tasks.append(self._context.copy().run(model.submit, step.model, told))
        if step.state != "started":
            self._told[step.model].put(step)

    def close(self) -> None:
        """No model is made any more: wait until all tasks have said so."""
        for told in self._told.values():
            told.put(None)
        for future in self._tasks:
            future.wait()


@flow(name="transformation")
def transform(
    environment: str = "prod", fail_fast: bool = False, follow_seconds: float = 0.0, follow_pause: float = 1.0
) -> dict[str, Any]:
    """Bring the models of `environment` up to date. With `fail_fast`, no model is begun once another has failed.

    With `follow_seconds` go on for so long: new searches go into the funnel at once, all other models once a minute. A
    pass that fails is tried again; each shows in `ops.model_runs`.

    Returns: totals; of a follower, of its last full pass, and how many passes it made.

    Raises:
        TransformationFailed: a model or an audit failed; names it, with the first rows that break the audit.
    """
    settings = load_settings()
    with stage(settings, "transformation") as noted:
        try:
            result = run_models(settings, environment, fail_fast)
        except transformation.ModelsFailed as failed:
            show(failed.result)
            raise
        show(result)
        if result.mode == "plan" and environment == "prod":
            draw_lineage(settings)
        noted.rows_in, noted.rows_out = result.new_batches, sum(run.rows or 0 for run in result.models)
        passes = Passes()
        if follow_seconds > 0:
            follow(settings, environment, follow_seconds, follow_pause, passes)
    return {
        "mode": result.mode,
        "models": len(result.models),
        "restated_days": [day.isoformat() for day in result.restated_days],
        "seconds": round(result.duration_s, 2),
        "passes": 1 + passes.made,
        "failed_passes": passes.failed,
    }


@dataclass
class Passes:
    """What a follower did."""

    made: int = 0
    failed: int = 0


def follow(settings: Settings, environment: str, seconds: float, pause: float, passes: Passes) -> None:
    """One pass after the other until the time is over or somebody stops us."""
    log, table = get_run_logger(), LiveTable("transformation-live")
    ends, all_due, merge_due = (time.monotonic() + wait for wait in (seconds, ALL_EVERY, MERGE_EVERY))
    with stopped_by_signals() as stop:
        while not stop.wait(pause) and time.monotonic() < ends:
            everything = time.monotonic() >= all_due
            try:
                result = run_models(settings, environment, only=() if everything else FIRST, tasks=ModelTasks(True))
            except transformation.ModelsFailed as error:
                log.error("%s", error)
                passes.failed += 1
                result = error.result
            except RETRYABLE as error:
                log.warning("%s", str(error).splitlines()[0])
                stop.wait(TROUBLE_PAUSE)
                continue
            passes.made += 1
            if everything:
                all_due = time.monotonic() + ALL_EVERY
                if time.monotonic() >= merge_due:
                    merge_due = time.monotonic() + MERGE_EVERY
                    _merge(settings)
                table.show([_passed(result, passes)], f"Newest pass over all models, {utc_now():%H:%M:%S} UTC.")


def _merge(settings: Settings) -> None:
    try:
        maintenance.merge_events(settings)
    except SearchFlowError as error:
        get_run_logger().warning("%s", error)


def _passed(result: TransformationResult, passes: Passes) -> dict[str, Any]:
    return {
        "passes": passes.made,
        "failed": passes.failed,
        "models": len(result.models),
        "new_commits": result.new_batches,
        "seconds": round(result.duration_s, 2),
    }


def run_models(
    settings: Settings,
    environment: str,
    fail_fast: bool = False,
    only: Sequence[str] = (),
    tasks: ModelTasks | None = None,
) -> TransformationResult:
    """Plan when model files changed, else run what is due; each model as a task run."""
    tasks = tasks or ModelTasks()
    with models_at_rest(settings, environment), progress("transforming") as bar:

        def on_progress(step: ModelProgress) -> None:
            bar.update(done=step.models_done, total=step.models_total)
            tasks.hear(step)

        now = cut.take(settings, utc_now)  # ingestion goes on: what is committed from here on is left to the next run
        try:
            result = transformation.transform(
                settings, environment=environment, now=now, on_progress=on_progress, fail_fast=fail_fast, only=only
            )
        finally:
            tasks.close()
    for warning in result.warnings:
        get_run_logger().warning("%s", warning)
    return result


def show(result: TransformationResult) -> None:
    """All models of a run in one table."""
    rows = [
        {
            "model": run.name,
            "status": run.status,
            "days": days(run),
            "rows": run.rows if run.rows is not None else "",
            "seconds": round(run.duration_s, 2),
            "audits passed": run.audits_passed,
            "audits failed": run.audits_failed,
            "error": run.error or "",
        }
        for run in result.models
    ]
    table_artifact("model-runs", rows, f"{len(rows)} models in {result.duration_s:.1f} s ({result.mode})")


def draw_lineage(settings: Settings) -> None:
    """Models have changed: the page of all columns and where they go, for people and for the dashboards to link to."""
    uses = [*activations.lineage.uses(), *dashboards.lineage.uses()]
    page.write(transformation.graph(settings, uses=uses), settings.reports_dir / "lineage.html")


def summary(run: ModelRun) -> str:
    """What a model did, in a line: "1,204 rows of 2026-03-08 to 2026-03-10 in 0.41 s, 3 audits passed"."""
    rows = "a view" if run.rows is None else f"{run.rows:,} rows"
    warned = f", {run.audits_failed} warned" if run.audits_failed else ""
    return f"{rows} of {days(run)} in {run.duration_s:.2f} s, {run.audits_passed} audits passed{warned}"


def days(run: ModelRun) -> str:
    """The days that were made: "2026-03-08, 2026-03-10 to 2026-03-12"."""
    spans = [(start.date(), (end - MOMENT).date()) for start, end in sorted(run.intervals)]
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in spans)


def artifact_key(name: str, audit: str) -> str:
    """Prefect takes small letters, digits and dashes: "audit-marts-dim-users-not-null"."""
    return re.sub(r"[^a-z0-9]+", "-", f"audit-{name}-{audit}".lower())
