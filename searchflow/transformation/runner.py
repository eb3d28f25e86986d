"""The runner of one transformation: it lists the days that new data touched, then runs what is due, or plans what is
not there yet.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from searchflow import tracing, warehouse
from searchflow.errors import ServiceError, engine_reason
from searchflow.fetching import first_row
from searchflow.ops import record
from searchflow.services.process import locked
from searchflow.settings import ROOT, Settings
from searchflow.transformation import changes, evaluation, failures, held_events, marking, restatements
from searchflow.transformation.result import PRODUCTION, ModelProgress, ModelRun, TransformationResult

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from sqlmesh.core.snapshot import Snapshot

    from searchflow.transformation.project import Project


def transform(
    settings: Settings,
    *,
    environment: str = PRODUCTION,
    now: datetime,
    on_progress: Callable[[ModelProgress], None] | None = None,
    restate: Collection[date] = (),
    fail_fast: bool = False,
    only: Collection[str] = (),
    taken: datetime | None = None,
    root: Path = ROOT,
    using: AbstractContextManager[Project] | None = None,
) -> TransformationResult:
    """Bring the models of `environment` up to `now`.

    Production's models are those that were promoted, whatever the files say now. Those of another environment, and of
    production before the first promotion, come from the files in `root`.

    Earlier days that new data touched are rebuilt, and so are those in `restate`. A model that fails stops what depends
    on it; with `fail_fast` no other model is begun either. With `only`, just these models and those before them are
    made; what is due in the others stays due. (A plan makes everything.) `taken` is an earlier call's moment: commits
    up to then are not looked for again, so that a follower's pass does not grow with the number of commits. `using`
    gives these models instead, for `searchflow.transformation.deployment`, which promotes them.

    Raises:
        TransformationFailed: a model or a blocking audit failed. What does not depend on it is done; call again.
        BusyError, ServiceError, ConfigurationError: it could not begin.
    """
    from searchflow.transformation.production import chosen, deployed_versions, note_plan
    from searchflow.transformation.project import forget

    clock = time.perf_counter()
    stamp = now.astimezone(UTC).replace(tzinfo=None)
    result = TransformationResult(str(uuid.uuid4()), environment, "run", stamp)
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    promoting, models = using is not None, using or chosen(settings, environment, root)
    with locked(settings, "transformation", wait=True), _servers(settings), models as opened:
        with warehouse.connect(settings) as connection, _traced(connection, environment, stamp) as span:
            opened.console.listen(_examined(opened, connection, on_progress), stamp)
            snapshots = opened.snapshots()
            released = held_events.due(opened, connection) if environment == PRODUCTION else []
            restate = {*restate, *held_events.days_of(connection, released)}
            marked = deployed_versions(opened) if promoting else snapshots
            marking.list_changes(opened, connection, marked, restate, taken, result)
            held_events.release(connection, released, stamp)
            problem = evaluation.evaluate(opened, snapshots, result, fail_fast, only)
            problem, held = evaluation.hold_back(opened, connection, problem, result, fail_fast, only)
            promoted = False
            if environment == PRODUCTION and (result.mode == "plan" or promoting):
                promoted = note_plan(settings, connection, opened, failed=problem is not None)
            if problem is None:  # a first plan that failed has promoted nothing: there are no key figures to read
                _note_restatements(opened, connection, result)
            result.models = list(opened.console.runs.values())
            result.warnings = opened.console.warnings + ([held_events.warning(held)] if held else [])
            if not result.models and result.mode == "run":
                result.mode = "nothing"
            result.duration_s = time.perf_counter() - clock
            _record(connection, result, span)
        failed = problem or opened.console.failures
        error = failures.explain(opened, result, problem, promoting=promoting and not promoted) if failed else None
    if error is not None:
        forget(settings)  # perhaps a server went away: the next call connects again
        raise error
    return result


def is_behind(settings: Settings, environment: str, now: datetime, taken: datetime | None = None) -> bool:
    """Return whether there are commits that no transformation of `environment` has seen. Those up to `taken` are not
    looked for.
    """
    with warehouse.connect(settings, read_only=True) as connection:
        return bool(changes.new_batches(connection, environment, now.astimezone(UTC).replace(tzinfo=None), taken))


@contextmanager
def _servers(settings: Settings) -> Iterator[None]:
    """Turn the loss of a server into an error of our own. What is kept open is closed, so that the next call connects
    again.
    """
    import psycopg2  # SQLMesh's driver for its state

    from searchflow.transformation.project import forget

    try:
        yield
    except (
        psycopg2.OperationalError,
        psycopg2.InterfaceError,
        duckdb.IOException,
        duckdb.TransactionException,
    ) as error:
        forget(settings)
        raise ServiceError(
            f"A server failed while models were made: {engine_reason(error).rstrip('.')}. Run `searchflow status`, then "
            "the same command again."
        ) from error


@contextmanager
def _traced(connection: duckdb.DuckDBPyConnection, environment: str, now: datetime) -> Iterator[Span | None]:
    """Trace the run as a span, linked to those of the commits that it takes in."""
    origins = changes.traces(connection, environment, now) if tracing.enabled() else []
    with tracing.span(f"transform {environment}", links=origins, environment=environment) as span:
        yield span


def _examined(
    opened: Project, connection: duckdb.DuckDBPyConnection, on_progress: Callable[[ModelProgress], None] | None
) -> Callable[[ModelProgress], None]:
    """Add to a finished model how many rows it made, or which rows break its audits, before any listener hears that it
    is over.
    """

    def tell(step: ModelProgress) -> None:
        name, snapshot = next(
            (name, each) for name, each in opened.console.snapshots.items() if each.model.name == step.model
        )
        if step.state == "succeeded":
            step.run.rows = _rows_made(snapshot, step.run, connection)
        elif step.state == "failed":
            failures.examine(opened, step.run, opened.console.failures[name])
        if on_progress is not None:
            on_progress(step)

    return tell


def _rows_made(snapshot: Snapshot, run: ModelRun, connection: duckdb.DuckDBPyConnection) -> int | None:
    """Count the rows of the days that were made: DuckDB does not say how many it wrote."""
    if not snapshot.is_materialized:
        return None
    where = ""
    if snapshot.is_incremental_by_time_range and snapshot.model.time_column is not None:
        column = snapshot.model.time_column.column.sql(dialect="duckdb")
        days = [f"{column}::TIMESTAMP >= '{start}' AND {column}::TIMESTAMP < '{end}'" for start, end in run.intervals]
        where = f" WHERE ({') OR ('.join(days)})"
    found = first_row(connection.execute(f"SELECT count(*) FROM {snapshot.table_name()}{where}"))
    return int(found[0]) if found else None


def _note_restatements(opened: Project, connection: duckdb.DuckDBPyConnection, result: TransformationResult) -> None:
    """Note what changed in the key figures of closed days, when production's were made."""
    made = {run.name for run in opened.console.runs.values() if run.status == "succeeded"}
    if result.environment == PRODUCTION and restatements.MART in made:
        result.restatements = restatements.note(connection, result.run_id, result.started_at)


def _record(connection: duckdb.DuckDBPyConnection, result: TransformationResult, span: Span | None) -> None:
    """Write one row for each model in `ops.model_runs`, and one span."""
    tracing.note(span, mode=result.mode, batches=result.new_batches, models=len(result.models))
    if not result.models:
        return
    snapshot = warehouse.current_snapshot(
        connection
    )  # under the lock of transformations, so it is the state in which the run left the models
    record.rows(
        connection,
        "ops.model_runs",
        [
            {
                "run_id": result.run_id,
                "environment": result.environment,
                "model": run.name,
                "interval_start": min((start for start, _ in run.intervals), default=None),
                "interval_end": max((end for _, end in run.intervals), default=None),
                "started_at": run.started_at or result.started_at + timedelta(seconds=result.duration_s),
                "duration_s": run.duration_s,
                "rows": run.rows,
                "audits_passed": run.audits_passed,
                "audits_failed": run.audits_failed,
                "status": run.status,
                "error": run.error,
                "traceparent": _model_span(run, result),
                "known_until": result.started_at,
                "lake_snapshot": snapshot,
                "due_at": run.due_at,
            }
            for run in result.models
        ],
    )


def _model_span(run: ModelRun, result: TransformationResult) -> str | None:
    """Make a model's span afterwards, from what SQLMesh told: SQLMesh runs models on threads of its own."""
    begun = run.started_at or result.started_at + timedelta(seconds=result.duration_s)
    return tracing.finished(
        f"model {run.name}",
        after=(begun - result.started_at).total_seconds(),
        seconds=run.duration_s,
        failed=run.status == "failed",
        model=run.name,
        rows=run.rows,
        audits_passed=run.audits_passed,
        audits_failed=run.audits_failed,
        status=run.status,
    )
