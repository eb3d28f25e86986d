"""Marking: which days SQLMesh makes again. It is told that they are missing, and then makes what is missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import duckdb

from searchflow.transformation import changes, held_events, versions
from searchflow.transformation.reach import ChangedDays, days_to_make
from searchflow.transformation.result import PRODUCTION, TransformationResult

if TYPE_CHECKING:
    from sqlmesh.core.snapshot import Snapshot

    from searchflow.transformation.project import Project

IDENTITY = "intermediate.int_identity"
MOST_RANGES = 30
"""The most ranges of days. A range is one query a model; beyond this number, one query over all of them is cheaper."""
FEW_RANGES, NEAR = 5, timedelta(days=10)
"""Of more than so many ranges, those that lie closer together are made as one: the days between cost less than another
query. 42 days in 20 ranges took three times as long as all 120 days of the history at once."""


def list_changes(
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


def make_again(
    opened: Project,
    connection: duckdb.DuckDBPyConnection,
    held: Collection[held_events.Held],
    result: TransformationResult,
) -> None:
    """Mark the days with an event that is held back now as missing again, in every model that has them."""
    made = [
        each
        for each in opened.snapshots()
        if each.is_model and each.evaluatable and each.intervals and not each.is_seed
    ]
    changed = ChangedDays.entirely(held_events.days_of(connection, held))
    _mark_missing(opened, made, result.started_at.date(), changed, result.environment)


def _has(snapshot: Snapshot, day: date) -> bool:
    """Return whether a model has a day: only such a day can be rebuilt, the others are missing anyway."""
    return any(start <= _milliseconds(day) < end for start, end in snapshot.intervals)


def _of_days(snapshot: Snapshot) -> bool:
    """Return True when a run makes the model for days: their rows, or the keys that they saw. Other models are made as
    a whole.
    """
    return bool(snapshot.is_incremental_by_time_range or snapshot.is_incremental_by_unique_key)


def _milliseconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def _mark_missing(
    opened: Project, snapshots: list[Snapshot], today: date, changed: ChangedDays, environment: str
) -> None:
    """Mark as missing today in every model and, in a model of days, the days that what changed reaches.

    Each call of SQLMesh takes one range of days a model: of several it would keep only the last.
    """
    ranges: dict[tuple[int, int], list[Snapshot]] = defaultdict(list)
    variables = opened.variables
    for snapshot in snapshots:
        days = {today}
        if _of_days(snapshot):
            reached = days_to_make(snapshot.model.tags, changed, variables, today)
            days |= {day for day in reached if _has(snapshot, day)}
        for interval in ranges_of(days):
            ranges[interval].append(snapshot)
    beside = versions.beside(opened, snapshots) if environment == PRODUCTION and ranges else {}
    for interval, those in ranges.items():
        pairs = [(each, interval) for snapshot in those for each in (snapshot, *beside.get(snapshot.name, ()))]
        opened.context.state_sync.remove_intervals(pairs, remove_shared_versions=environment == PRODUCTION)


def ranges_of(days: Collection[date]) -> list[tuple[int, int]]:
    """Return days as SQLMesh's intervals in milliseconds. Neighbours are joined. Of many ranges, near ones are joined
    too, and very many become one.
    """
    ranges = _joined(days, timedelta(0))
    if len(ranges) > FEW_RANGES:
        ranges = _joined(days, NEAR)
    return ranges if len(ranges) <= MOST_RANGES else [(ranges[0][0], ranges[-1][1])]


def _joined(days: Collection[date], near: timedelta) -> list[tuple[int, int]]:
    """Return ranges of days, in which those with no more than `near` between them are one."""
    ranges: list[tuple[int, int]] = []
    for day in sorted(set(days)):
        start = _milliseconds(day)
        end = start + 86_400_000
        if ranges and start - ranges[-1][1] <= near // timedelta(milliseconds=1):
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((start, end))
    return ranges
