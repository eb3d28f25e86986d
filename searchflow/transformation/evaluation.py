"""Evaluation: lets SQLMesh plan or run, and repeats it without the events on which a model of production fails."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC
from typing import TYPE_CHECKING

import duckdb

from searchflow.transformation import held_events, marking
from searchflow.transformation.result import PRODUCTION, TransformationResult

if TYPE_CHECKING:
    from sqlmesh.core.snapshot import Snapshot

    from searchflow.transformation.project import Project

MOST_ROUNDS = 3
"""The most rounds of holding back. When what one model cannot digest is held back, another model may fail on something
else; each round makes the rest.
"""


def hold_back(
    opened: Project,
    connection: duckdb.DuckDBPyConnection,
    problem: Exception | None,
    result: TransformationResult,
    fail_fast: bool,
    only: Collection[str],
) -> tuple[Exception | None, list[held_events.Held]]:
    """Hold back each event on which a model of production failed, and make those models again without it.

    Return what still failed besides models, and the events that are held back now.
    """
    held: list[held_events.Held] = []
    for _ in range(MOST_ROUNDS if result.environment == PRODUCTION else 0):
        found = held_events.find(opened, connection, result.started_at)
        if not found:
            break
        marking.make_again(opened, connection, found, result)
        held_events.hold(connection, found, result.run_id, result.started_at)
        held += found
        opened.console.listen(opened.console.callback, result.started_at)
        problem = evaluate(opened, opened.snapshots(), result, fail_fast, only)
    return problem, held


def evaluate(
    opened: Project, snapshots: list[Snapshot], result: TransformationResult, fail_fast: bool, only: Collection[str]
) -> Exception | None:
    """Let SQLMesh plan or run. The console is told which models fail; what failed besides them is returned."""
    context = opened.context
    deployed = context.state_reader.get_environment(result.environment)
    finished = deployed is not None and deployed.finalized_ts is not None  # a plan that was killed is not
    known = {each.snapshot_id for each in deployed.snapshots} if deployed is not None else set()
    problem = None
    if not finished or known != {snapshot.snapshot_id for snapshot in snapshots}:
        result.mode = "plan"
        problem = _attempt(opened, fail_fast, lambda stop: _plan(opened, result, stop))
        opened.forget_snapshots()
        snapshots = opened.snapshots()
        if problem is not None:  # models that did not change get their new days nevertheless
            snapshots = [snapshot for snapshot in snapshots if snapshot.snapshot_id in known]
    if deployed is None or not snapshots or (problem is not None and fail_fast):
        return problem
    # A plan that failed has left days that are missing in models that did not change.
    problem_of_run = _attempt(opened, fail_fast, lambda stop: _run(opened, snapshots, result, stop, only))
    return problem or problem_of_run


def _attempt(opened: Project, fail_fast: bool, work: Callable[[Callable[[], bool] | None], None]) -> Exception | None:
    """Try `work` once. `work` gets SQLMesh's circuit breaker: once that answers yes, no other model is begun."""
    from sqlmesh.utils.errors import CircuitBreakerError, SQLMeshError

    try:
        work((lambda: bool(opened.console.failures)) if fail_fast else None)
    except CircuitBreakerError as error:
        opened.console.skip_the_rest()
        return error
    except (SQLMeshError, duckdb.Error) as error:
        return error
    return None


def _plan(opened: Project, result: TransformationResult, stop: Callable[[], bool] | None) -> None:
    context = opened.context
    plan = context.plan_builder(
        result.environment,
        execution_time=result.started_at.replace(tzinfo=UTC),  # it is also where the plan ends
        # Days that are missing in unchanged models too: what is made from them ends at the same moment as they do. Without
        # `run` SQLMesh ignores `ignore_cron`, and ends at the last tick of five minutes.
        run=True,
        ignore_cron=True,  # today's part of a day counts, whatever the minute
        include_unmodified=True,
        skip_tests=True,  # `make check` runs them, and the linter
        skip_linter=True,
    ).build()
    context.apply(plan, circuit_breaker=stop)


def _run(
    opened: Project,
    snapshots: list[Snapshot],
    result: TransformationResult,
    stop: Callable[[], bool] | None,
    only: Collection[str],
) -> None:
    """Do what `context.run` does, with models that are already loaded and rendered."""
    context, now = opened.context, result.started_at.replace(tzinfo=UTC)
    scheduler = context.create_scheduler(snapshots, context.snapshot_evaluator)
    scheduler.run(
        result.environment,
        end=now,
        execution_time=now,
        ignore_cron=True,
        selected_snapshots=_with_those_before(opened, only) if only else None,
        circuit_breaker=stop,
    )


def _with_those_before(opened: Project, names: Collection[str]) -> set[str]:
    """Return these models and all that they are made from, by the names that SQLMesh gives them."""
    chosen = [opened.context.get_model(name, raise_if_missing=True).fqn for name in names]
    return {*chosen, *(before for name in chosen for before in opened.context.dag.upstream(name))}
