"""Transformation flow: the models are up to date. Every new event is in them, days touched by late events are restated,
audits have passed.

Production's models are those that were promoted (`flows/promotion.py`), whatever the files say meanwhile; the log tells when
they differ.

Runs every five minutes and follows ingestion until the next run takes over: in one warm process, new searches go into the
funnel within seconds and all other models are made every minute. In the pipeline, and on demand, it makes one pass.

The scheduling is SQLMesh's own; each model appears here as a task run while it is made, with its days, rows, duration and
audits. A model whose audit fails is a failed task with the rows that break it; models behind it are skipped, all others
are made.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
from prefect import flow, get_run_logger

import activations.lineage
import dashboards.lineage
from flows.drift import Watch
from flows.live import SECONDS, LiveTable
from flows.model_tasks import ModelTasks, Trouble, days
from flows.support import RETRYABLE, TAKE_OVER, models_at_rest, stage, stopped_by_signals, table_artifact, utc_now
from searchflow import maintenance, transformation
from searchflow.errors import SearchFlowError
from searchflow.ingestion import cut
from searchflow.progress import progress
from searchflow.services import locks
from searchflow.settings import Settings, load_settings
from searchflow.transformation import ModelProgress, ModelsFailed, TransformationResult, page

FIRST = ("marts.fct_search_funnel_daily",)
"""The models that a follower makes when new events are there, with the models before it: the funnel."""
ALL_EVERY = 60.0
"""Seconds between its passes over all models: users, segments and attribution read all history."""
MERGE_EVERY = 300.0
"""Seconds between its merges of the files that ingestion leaves every second; the hourly maintenance is too late for
it."""
TROUBLE_PAUSE = 5.0


@flow(name="transformation")
def transform(
    environment: str = "prod", fail_fast: bool = False, follow_seconds: float = 0.0, follow_pause: float = 1.0
) -> dict[str, Any]:
    """Bring the models of `environment` up to date. With `fail_fast`, no model is begun once another has failed.

    With `follow_seconds` go on until so long after the start, or until told to stop; the pass under way is finished. New
    searches go into the funnel at once, `follow_pause` seconds after the pass before; all models are made once a minute. A
    pass that fails is tried again; each shows in `ops.model_runs`.

    Returns: totals; of a follower, of its last pass over all models, and how many passes it made.

    Raises:
        TransformationFailed: a model or an audit failed (of a follower: in its last pass over all models); names it, with
            the first rows that break the audit.
    """
    settings, ends = load_settings(), time.monotonic() + follow_seconds
    passes = Passes()
    if follow_seconds > 0:
        follow(settings, environment, fail_fast, ends, follow_pause, passes)
    else:
        watch = Watch(settings, environment)
        passes.newest = make_all(settings, environment, fail_fast)
        passes.made = 1
        watch.tell()
        watch.close()
    if passes.problem is not None:
        raise passes.problem
    result = passes.newest
    return {
        "mode": result.mode if result else "nothing",
        "models": len(result.models) if result else 0,
        "restated_days": [day.isoformat() for day in result.restated_days] if result else [],
        "seconds": round(result.duration_s, 2) if result else 0.0,
        "passes": passes.made,
        "failed_passes": passes.failed,
    }


def make_all(
    settings: Settings, environment: str, fail_fast: bool, tasks: ModelTasks | None = None
) -> TransformationResult:
    """Make one pass over all models, noted as a run of the stage."""
    with stage(settings, "transformation") as noted:
        try:
            result = run_models(settings, environment, fail_fast, tasks=tasks)
        except ModelsFailed as failed:
            show(failed.result)
            raise
        if tasks is None:
            show(result)
        noted.rows_in, noted.rows_out = result.new_batches, sum(run.rows or 0 for run in result.models)
    return result


@dataclass
class Passes:
    """The passes that a run made."""

    made: int = 0
    failed: int = 0
    newest: TransformationResult | None = None
    """The result of the last pass over all models."""
    problem: ModelsFailed | None = None
    """The reason why the last pass over all models failed."""
    known: Trouble = field(default_factory=dict)
    again: bool = False
    """True when the last pass failed: the next is due, whatever came in."""
    taken: datetime | None = None
    """The moment up to which commits are in what was made, or on SQLMesh's list."""


def follow(settings: Settings, environment: str, fail_fast: bool, ends: float, pause: float, passes: Passes) -> None:
    """Make one pass after the other until the time is over or a signal stops the process."""
    table, watch = Passing(), Watch(settings, environment)
    with stopped_by_signals() as stop, _only_follower(settings, environment, stop) as mine:
        all_due = merge_due = time.monotonic()
        while mine and not stop.is_set() and time.monotonic() < ends:
            everything = time.monotonic() >= all_due
            watch.tell()
            try:
                if (
                    everything
                    or passes.again
                    or transformation.is_behind(settings, environment, utc_now(), passes.taken)
                ):
                    table.note(_pass(settings, environment, fail_fast, everything, passes), passes)
            except RETRYABLE as error:
                get_run_logger().warning("%s", str(error).splitlines()[0])
                stop.wait(TROUBLE_PAUSE)
                continue
            if everything:
                all_due = time.monotonic() + ALL_EVERY
            if everything and time.monotonic() >= merge_due:
                merge_due = time.monotonic() + MERGE_EVERY
                _merge(settings)
            stop.wait(TROUBLE_PAUSE if passes.again else pause)


@contextmanager
def _only_follower(settings: Settings, environment: str, stop: threading.Event) -> Iterator[bool]:
    """Claim an environment for one follower, on whatever machine. A new one waits a while for another's last pass."""
    patience = time.monotonic() + TAKE_OVER
    while True:
        with locks.try_advisory_lock(settings, locks.models_follower(environment)) as mine:
            if mine or stop.is_set() or time.monotonic() >= patience:
                if not mine:
                    get_run_logger().info("another run follows: nothing to do here")
                yield mine
                return
        stop.wait(1.0)


def _pass(
    settings: Settings, environment: str, fail_fast: bool, everything: bool, passes: Passes
) -> TransformationResult:
    """Make all models, or the funnel. In the first pass every model is a task run; in the others only those that fail."""
    tasks = ModelTasks(passes.known) if passes.made else None
    try:
        if everything:
            result = passes.newest = make_all(settings, environment, fail_fast, tasks)
            passes.problem = None
        else:
            result = run_models(settings, environment, fail_fast, FIRST, tasks, passes.taken)
    except ModelsFailed as failed:
        get_run_logger().error("%s", failed)
        passes.failed += 1
        result = failed.result
        if everything:
            passes.newest, passes.problem = result, failed
    passes.made += 1
    passes.again = bool(result.failed)
    passes.taken = result.started_at
    return result


class Passing:
    """The newest pass over the funnel and the newest over all models, as one table of the run."""

    def __init__(self) -> None:
        self._table, self._rows, self._shown = LiveTable("transformation-live"), dict[str, dict[str, Any]](), 0.0

    def note(self, result: TransformationResult, passes: Passes) -> None:
        """Show a pass, unless something was shown a moment ago."""
        what = "all models" if result is passes.newest else "funnel"
        self._rows[what] = {
            "newest pass over": what,
            "events until": f"{result.started_at:%H:%M:%S}",
            "new commits": result.new_batches,
            "models made": len(result.models),
            "failed": len(result.failed),
            "seconds": round(result.duration_s, 2),
        }
        if time.monotonic() - self._shown < SECONDS:
            return
        self._shown = time.monotonic()
        sentence = f"{passes.made} passes, {passes.failed} of them failed ({utc_now():%H:%M:%S} UTC)."
        try:
            self._table.show(list(self._rows.values()), sentence)
        except httpx.HTTPError as error:
            get_run_logger().warning("the table could not be shown: %s", str(error).splitlines()[0][:200])


def _merge(settings: Settings) -> None:
    try:
        maintenance.merge_events(settings)
    except SearchFlowError as error:
        get_run_logger().warning("%s", error)


def run_models(
    settings: Settings,
    environment: str,
    fail_fast: bool = False,
    only: Sequence[str] = (),
    tasks: ModelTasks | None = None,
    taken: datetime | None = None,
) -> TransformationResult:
    """Run what is due in production, or plan and run the files of another environment; each model as a task run."""
    tasks = tasks or ModelTasks()
    with models_at_rest(settings, environment), progress("transforming") as bar:

        def on_progress(step: ModelProgress) -> None:
            bar.update(done=step.models_done, total=step.models_total)
            tasks.hear(step)

        now = cut.take(settings, utc_now)  # ingestion goes on: what is committed from here on is left to the next run
        try:
            result = transformation.transform(
                settings,
                environment=environment,
                now=now,
                on_progress=on_progress,
                fail_fast=fail_fast,
                only=only,
                taken=taken,
            )
        finally:
            tasks.close()
    for warning in result.warnings:
        get_run_logger().warning("%s", warning)
    if result.mode == "plan" and environment == "prod":
        draw_lineage(settings)
    return result


def show(result: TransformationResult) -> None:
    """Show all models of a run in one table."""
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
    """Write the page of all columns and where they go, because models have changed; people and the dashboards use it."""
    uses = [*activations.lineage.uses(), *dashboards.lineage.uses()]
    page.write(transformation.graph(settings, uses=uses), settings.reports_dir / "lineage.html")
