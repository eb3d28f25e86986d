"""Task runs of models: each begins when SQLMesh begins with the model, and ends with what the model did, or with why it
failed and the rows that break its audit."""

from __future__ import annotations

import re
from contextvars import copy_context
from datetime import timedelta
from queue import SimpleQueue
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed

from flows.support import table_artifact
from searchflow.transformation import ModelProgress, ModelRun

MOMENT = timedelta(microseconds=1)
"""The smallest step of time: the end of an interval is the first moment that does not belong to it."""
Told = SimpleQueue[ModelProgress | None]
"""The news that SQLMesh tells about one model; None when it will tell nothing more."""
Trouble = dict[str, str]
"""The models that failed when they were last made, each with the audits that it breaks, or why."""


@task(cache_policy=NO_CACHE, task_run_name="{name}")
def model(name: str, told: Told) -> State[Any]:
    """Follow one model, from the moment SQLMesh begins with it until it is over."""
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
    """The task runs of a pass, one begun and ended for each model as SQLMesh tells: the task waits beside the
    scheduler, which works.

    With `known` a model is a task run only when it fails, and not again for the same reason: hundreds of passes an hour
    would bury the others. It is kept up to date.
    """

    def __init__(self, known: Trouble | None = None) -> None:
        self._known = known
        self._context = copy_context()  # of the flow: SQLMesh may tell from threads of its own
        self._told: dict[str, Told] = {}
        self._tasks: list[PrefectFuture[Any]] = []

    def hear(self, step: ModelProgress) -> None:
        """Take note of one step of one model."""
        if self._known is not None and not self._is_news(step, self._known):
            return
        if step.model not in self._told:
            told = self._told[step.model] = Told()
            self._tasks.append(self._context.copy().run(model.submit, step.model, told))
        if step.state != "started":
            self._told[step.model].put(step)

    @staticmethod
    def _is_news(step: ModelProgress, known: Trouble) -> bool:
        if step.state == "succeeded":
            known.pop(step.model, None)
        if step.state != "failed":
            return False
        why = ", ".join(sorted(step.run.broken)) or str(step.run.error)
        before, known[step.model] = known.get(step.model), why
        return why != before

    def close(self) -> None:
        """Wait until all tasks have ended, because no model is made any more."""
        for told in self._told.values():
            told.put(None)
        for future in self._tasks:
            future.wait()


def summary(run: ModelRun) -> str:
    """Return what a model did, in a line: "1,204 rows of 2026-03-08 to 2026-03-10 in 0.41 s, 3 audits passed"."""
    rows = "a view" if run.rows is None else f"{run.rows:,} rows"
    warned = f", {run.audits_failed} warned" if run.audits_failed else ""
    return f"{rows} of {days(run)} in {run.duration_s:.2f} s, {run.audits_passed} audits passed{warned}"


def days(run: ModelRun) -> str:
    """Return the days that were made: "2026-03-08, 2026-03-10 to 2026-03-12"."""
    spans = [(start.date(), (end - MOMENT).date()) for start, end in sorted(run.intervals)]
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in spans)


def artifact_key(name: str, audit: str) -> str:
    """Return the key of an artifact. Prefect takes lower-case letters, digits and dashes:
    "audit-marts-dim-users-not-null"."""
    return re.sub(r"[^a-z0-9]+", "-", f"audit-{name}-{audit}".lower())
