"""One transformation: list the days that new data touched, then run what is due, or plan what is not there yet."""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from searchflow import tracing, warehouse
from searchflow.errors import ServiceError, engine_reason
from searchflow.ops import record
from searchflow.services.process import locked
from searchflow.settings import ROOT, Settings
from searchflow.transformation import changes, failures, quarantine, restatements, versions
from searchflow.transformation.reach import ChangedDays, days_to_make
from searchflow.transformation.result import ModelProgress, ModelRun, TransformationResult

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from sqlmesh.core.snapshot import Snapshot

    from searchflow.transformation.project import Project

PRODUCTION = "prod"
IDENTITY = "intermediate.int_identity"
MOST_ROUNDS = 3
"""What one model cannot digest is held back, and then another model may fail on something else; each round makes the rest."""
MOST_RANGES = 30
"""A range of days is one query a model; beyond this one query over all of them is cheaper."""
FEW_RANGES, NEAR = 5, timedelta(days=10)
"""Of more than so many ranges, those that lie closer together are made as one: the days between cost less than another
query. 42 days in 20 ranges took three times as long as all 120 days of the history at once."""


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
    """Bring the models of `environment` up to `now`: production's as they were promoted, whatever the files say now; those
    of another environment, and of production before the first promotion, from the files in `root`.

    Earlier days that new data touched are made anew, and those in `restate`. A model that fails stops what depends on
    it; with `fail_fast` no other model is begun either. With `only`, just these models and those before them are made; what
    is due in the others stays due. (A plan makes everything.) `taken`: an earlier call's moment; commits up to then are not
    looked for again, so that a follower's pass does not grow with the number of commits. `using`: these models instead, for
    `searchflow.transformation.deployment`, which promotes them.

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
            released = quarantine.due(opened, connection) if environment == PRODUCTION else []
            restate = {*restate, *quarantine.days_of(connection, released)}
            marked = deployed_versions(opened) if promoting else snapshots
            _list_changes(opened, connection, marked, restate, taken, result)
            quarantine.release(connection, released, stamp)
            problem = _evaluate(opened, snapshots, result, fail_fast, only)
            problem, held = _hold_back(opened, connection, problem, result, fail_fast, only)
            promoted = False
            if environment == PRODUCTION and (result.mode == "plan" or promoting):
                promoted = note_plan(settings, connection, opened, failed=problem is not None)
            if (
                problem is None
            ):  # a first plan that failed has promoted nothing: the key figures are not there to be read
                _note_restatements(opened, connection, result)
            result.models = list(opened.console.runs.values())
            result.warnings = opened.console.warnings + ([quarantine.warning(held)] if held else [])
            if not result.models and result.mode == "run":
                result.mode = "nothing"
            result.duration_s = time.perf_counter() - clock
            _record(connection, result, span)
        failed = problem or opened.console.failures
        error = failures.explain(opened, result, problem, promoting=promoting and not promoted) if failed else None
    if error is not None:
        forget(settings)  # perhaps a server went away: the next call connects anew
        raise error
    return result


def _hold_back(
    opened: Project,
    connection: duckdb.DuckDBPyConnection,
    problem: Exception | None,
    result: TransformationResult,
    fail_fast: bool,
    only: Collection[str],
) -> tuple[Exception | None, list[quarantine.Held]]:
    """Put each event on which a model of production failed into quarantine, and make those models again without it.
    Returns what still failed besides models, and the events that are held back now."""
    held: list[quarantine.Held] = []
    for _ in range(MOST_ROUNDS if result.environment == PRODUCTION else 0):
        found = quarantine.find(opened, connection, result.started_at)
        if not found:
            break
        _make_again(opened, connection, found, result)
        quarantine.hold(connection, found, result.run_id, result.started_at)
        held += found
        opened.console.listen(opened.console.callback, result.started_at)
        problem = _evaluate(opened, opened.snapshots(), result, fail_fast, only)
    return problem, held


def is_behind(settings: Settings, environment: str, now: datetime, taken: datetime | None = None) -> bool:
    """Are there commits that no transformation of `environment` has seen? Those up to `taken` are not looked for."""
    with warehouse.connect(settings, read_only=True) as connection:
        return bool(changes.new_batches(connection, environment, now.astimezone(UTC).replace(tzinfo=None), taken))


@contextmanager
def _servers(settings: Settings) -> Iterator[None]:
    """A server that went away is an error of ours; what is kept open is closed, so that the next call connects anew."""
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
    """A span of the run, linked to those of the commits that it takes in."""
    origins = changes.traces(connection, environment, now) if tracing.enabled() else []
    with tracing.span(f"transform {environment}", links=origins, environment=environment) as span:
        yield span


def _list_changes(
    opened: Project,
    connection: duckdb.DuckDBPyConnection,
    snapshots: list[Snapshot],
    restate: Collection[date],
    taken: datetime | None,
    result: TransformationResult,
) -> None:
    """Tell SQLMesh which days are missing again: those of late data, and today for what is always made as a whole."""
    if result.environment != PRODUCTION and opened.context.state_reader.get_environment(result.environment) is None:
        changes.share_seen(connection, result.environment, PRODUCTION)  # else all of production would be made again
    batches = changes.new_batches(connection, result.environment, result.started_at, taken)
    result.new_batches = len(batches)
    changed, variables = ChangedDays.entirely(restate), opened.variables
    made = [snapshot for snapshot in snapshots if snapshot.is_model and snapshot.evaluatable and snapshot.intervals]
    if batches and made:  # before the first plan every day is missing anyway
        changed |= changes.changed_days(
            connection,
            batches,
            gap_minutes=int(variables["session_gap_minutes"]),
            window_days=int(variables["funnel_window_days"]),
            identity=next((each.table_name() for each in made if each.model.name == IDENTITY), None),
        )
    if batches or changed.all:
        today = result.started_at.date()
        earlier = [day for day in changed.all if day < today]
        result.restated_days = sorted(day for day in earlier if any(_has(each, day) for each in made if _of_days(each)))
        _mark_missing(
            opened, [snapshot for snapshot in made if not snapshot.is_seed], today, changed, result.environment
        )
    changes.mark_seen(connection, result.environment, batches, result.started_at)


def _make_again(
    opened: Project,
    connection: duckdb.DuckDBPyConnection,
    held: Collection[quarantine.Held],
    result: TransformationResult,
) -> None:
    """Days with an event that is held back now are missing again, in every model that has them."""
    made = [
        each
        for each in opened.snapshots()
        if each.is_model and each.evaluatable and each.intervals and not each.is_seed
    ]
    changed = ChangedDays.entirely(quarantine.days_of(connection, held))
    _mark_missing(opened, made, result.started_at.date(), changed, result.environment)


def _has(snapshot: Snapshot, day: date) -> bool:
    """Only a day that a model has can be made anew, the others are missing anyway."""
    return any(start <= _milliseconds(day) < end for start, end in snapshot.intervals)


def _of_days(snapshot: Snapshot) -> bool:
    """A run makes it for days: their rows, or the keys that they saw. Other models are made as a whole."""
    return bool(snapshot.is_incremental_by_time_range or snapshot.is_incremental_by_unique_key)


def _milliseconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def _mark_missing(
    opened: Project, snapshots: list[Snapshot], today: date, changed: ChangedDays, environment: str
) -> None:
    """Today in every model, and in a model of days those that what changed reaches.

    Each call takes one range of days a model: of several it would keep the last.
    """
    ranges: dict[tuple[int, int], list[Snapshot]] = defaultdict(list)
    variables = opened.variables
    for snapshot in snapshots:
        days = {today}
        if _of_days(snapshot):
            reached = days_to_make(snapshot.model.tags, changed, variables, today)
            days |= {day for day in reached if _has(snapshot, day)}
        for interval in _ranges(days):
            ranges[interval].append(snapshot)
    beside = versions.beside(opened, snapshots) if environment == PRODUCTION and ranges else {}
    for interval, those in ranges.items():
        pairs = [(each, interval) for snapshot in those for each in (snapshot, *beside.get(snapshot.name, ()))]
        opened.context.state_sync.remove_intervals(pairs, remove_shared_versions=environment == PRODUCTION)


def _ranges(days: Collection[date]) -> list[tuple[int, int]]:
    """Days as SQLMesh's intervals in milliseconds, neighbours joined; of many also near ones, and very many become one."""
    ranges = _joined(days, timedelta(0))
    if len(ranges) > FEW_RANGES:
        ranges = _joined(days, NEAR)
    return ranges if len(ranges) <= MOST_RANGES else [(ranges[0][0], ranges[-1][1])]


def _joined(days: Collection[date], near: timedelta) -> list[tuple[int, int]]:
    """Ranges of days; those with no more than `near` between them are one."""
    ranges: list[tuple[int, int]] = []
    for day in sorted(set(days)):
        start = _milliseconds(day)
        end = start + 86_400_000
        if ranges and start - ranges[-1][1] <= near // timedelta(milliseconds=1):
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((start, end))
    return ranges


def _examined(
    opened: Project, connection: duckdb.DuckDBPyConnection, on_progress: Callable[[ModelProgress], None] | None
) -> Callable[[ModelProgress], None]:
    """Before anybody hears that a model is over: how many rows it made, or which rows break its audits."""

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


def _evaluate(
    opened: Project, snapshots: list[Snapshot], result: TransformationResult, fail_fast: bool, only: Collection[str]
) -> Exception | None:
    """Let SQLMesh plan or run. Models that fail are told to the console; returns what failed besides them."""
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
        if problem is not None:  # what did not change has its new days nevertheless
            snapshots = [snapshot for snapshot in snapshots if snapshot.snapshot_id in known]
    if deployed is None or not snapshots or (problem is not None and fail_fast):
        return problem
    # A plan that failed has left days that are missing in models that did not change.
    problem_of_run = _attempt(opened, fail_fast, lambda stop: _run(opened, snapshots, result, stop, only))
    return problem or problem_of_run


def _attempt(opened: Project, fail_fast: bool, work: Callable[[Callable[[], bool] | None], None]) -> Exception | None:
    """`work` gets SQLMesh's circuit breaker: once it answers yes, no other model is begun."""
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
        execution_time=result.started_at.replace(tzinfo=UTC),  # also where the plan ends
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
    """What `context.run` does, with models that are already loaded and rendered."""
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
    """These models and all that they are made from, as SQLMesh calls them."""
    chosen = [opened.context.get_model(name, raise_if_missing=True).fqn for name in names]
    return {*chosen, *(before for name in chosen for before in opened.context.dag.upstream(name))}


def _rows_made(snapshot: Snapshot, run: ModelRun, connection: duckdb.DuckDBPyConnection) -> int | None:
    """Rows of the days that were made: DuckDB does not say how many it wrote."""
    if not snapshot.is_materialized:
        return None
    where = ""
    if snapshot.is_incremental_by_time_range and snapshot.model.time_column is not None:
        column = snapshot.model.time_column.column.sql(dialect="duckdb")
        days = [f"{column}::TIMESTAMP >= '{start}' AND {column}::TIMESTAMP < '{end}'" for start, end in run.intervals]
        where = f" WHERE ({') OR ('.join(days)})"
    found = connection.execute(f"SELECT count(*) FROM {snapshot.table_name()}{where}").fetchone()
    return int(found[0]) if found else None


def _note_restatements(opened: Project, connection: duckdb.DuckDBPyConnection, result: TransformationResult) -> None:
    """What changed in the key figures of closed days, when production's were made."""
    made = {run.name for run in opened.console.runs.values() if run.status == "succeeded"}
    if result.environment == PRODUCTION and restatements.MART in made:
        result.restatements = restatements.note(connection, result.run_id, result.started_at)


def _record(connection: duckdb.DuckDBPyConnection, result: TransformationResult, span: Span | None) -> None:
    """One row a model in `ops.model_runs`, and one span."""
    tracing.note(span, mode=result.mode, batches=result.new_batches, models=len(result.models))
    if not result.models:
        return
    snapshot = warehouse.current_snapshot(
        connection
    )  # under the lock of transformations: just as the run left the models
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
    """SQLMesh runs models on threads of its own: their spans are made afterwards, from what it told."""
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
