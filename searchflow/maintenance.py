"""Upkeep of the lake and the streams: it moves small commits out of the catalog, merges small files, and removes old data.

Upkeep is safe beside readers and writers. Each step is its own transaction. Where a writer was faster, the step is tried
again (a flush, at last, while no worker commits) and then left to the next run. Positions change with every commit, so a
busy worker would always be faster there: their small tables are tidied while no worker commits, which takes a fraction of
a second. Nothing is deleted that was needed within `KEEP`: a reader may hold an old snapshot, and files of a transaction
that is still open look like orphans. Models are tidied between transformations, never beside one, because SQLMesh does
not repeat a transaction that lost to ours.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import PurePosixPath

import duckdb

from searchflow import lake_calls, streams, tables, warehouse
from searchflow.errors import SearchFlowError
from searchflow.fetching import first_row
from searchflow.ingestion.cut import CommitGate
from searchflow.ingestion.positions import positions
from searchflow.ingestion.stream_source import StreamPosition
from searchflow.ops import audit_log
from searchflow.services.process import locked
from searchflow.settings import Settings

KEEP = timedelta(hours=24)
"""The time for which a snapshot or a file may still be needed. No dashboard, suite, time-travel query or open transaction
needs one for longer than a day."""
CATALOG_TABLES = f"__ducklake_metadata_{warehouse.CATALOG}"
OURS = ("raw", "ops")
"""The schemas that ingestion and the other parts append to; all others belong to SQLMesh."""
LEAST_DELETED = 0.3
"""The share of deleted rows from which a file is rewritten without them."""
EXPIRED_AT_ONCE = 10_000
"""The most snapshots that one statement expires: it lists their numbers one by one."""
HELD_SECONDS = 3.0
"""The seconds for which upkeep keeps transformations away at a time. If it let go after each table, it would wait for a whole
transformation before the next, because waiting processes take turns."""
POSITIONS = "position_"
"""The prefix of the tables that hold positions."""


@dataclass
class Upkeep:
    """The lake before and after upkeep, and what was removed. `skipped` names the steps at which a writer was faster."""

    files_before: int = 0
    files_after: int = 0
    snapshots_before: int = 0
    snapshots_after: int = 0
    files_deleted: int = 0
    orphans_deleted: int = 0
    entries_trimmed: int = 0
    skipped: list[str] = field(default_factory=list)


def run(settings: Settings, *, now: datetime) -> Upkeep:
    """Flush inlined rows, merge files, expire snapshots, delete files that are no longer needed, and trim the streams.

    Raises:
        SearchFlowError: a step failed for another reason than a faster writer. The steps before it stay done.
        ServiceError: the catalog or the stream server does not answer.
    """
    result = Upkeep()
    with warehouse.connect(settings) as connection:
        result.files_before, result.snapshots_before = _measure(connection)
        with CommitGate(settings) as gate:
            alone = partial(gate.alone, streams.EVENT_TYPES)
            ours = _tables(connection, ours=True)
            _tidy(connection, [each for each in ours if not each[1].startswith(POSITIONS)], result, alone)
            with alone():
                _tidy(connection, [each for each in ours if each[1].startswith(POSITIONS)], result)
            settings.run_dir.mkdir(parents=True, exist_ok=True)
            _tidy_models(settings, connection, result, alone)
        older_than = now - KEEP
        expire(connection, older_than, result)
        result.files_deleted = len(call(connection, "ducklake_cleanup_old_files", result, older_than=older_than))
        result.orphans_deleted = delete_orphans(connection, older_than, result)
        result.files_after, result.snapshots_after = _measure(connection)
        result.entries_trimmed = trim_streams(settings, connection)
    for what, count in (("streams", result.entries_trimmed), ("files", result.files_deleted + result.orphans_deleted)):
        if count:
            audit_log.append(settings, "trim", what, rows=count, detail="no longer needed")
    return result


def merge_events(settings: Settings) -> Upkeep:
    """Merge only the small files that commits of raw events left: every read of today opens each of them.

    Raises:
        SearchFlowError: a step failed for another reason than a faster writer.
    """
    result = Upkeep()
    with warehouse.connect(settings) as connection, CommitGate(settings) as gate:
        alone = partial(gate.alone, streams.EVENT_TYPES)
        _tidy(connection, [("raw", table) for table in tables.PARTITIONED], result, alone)
    return result


def expire(connection: duckdb.DuckDBPyConnection, older_than: datetime, result: Upkeep | None = None) -> int:
    """Expire the snapshots from before `older_than` at which no mart was made. Return their number.

    A check over several tables reads the sources of a mart at that mart's snapshot (`ops.made_until`). The snapshot is not
    kept for a mart that is made less often than every `KEEP`: it would keep the files of a month.
    """
    known = connection.execute(
        f"SELECT snapshot_id FROM ducklake_snapshots('{warehouse.CATALOG}') WHERE snapshot_time < ?", [older_than]
    ).fetchall()
    newest = warehouse.current_snapshot(connection)
    unused = {int(row[0]) for row in known} - in_use(connection) - {newest}
    for first in range(0, len(unused), EXPIRED_AT_ONCE):
        versions = sorted(unused)[first : first + EXPIRED_AT_ONCE]
        call(connection, "ducklake_expire_snapshots", result or Upkeep(), versions=versions)
    return len(unused)


def in_use(connection: duckdb.DuckDBPyConnection) -> set[int]:
    """Return the snapshots at which the existing models were made."""
    found = connection.execute(
        "SELECT made.lake_snapshot FROM ops.made_until AS made "
        "JOIN duckdb_views() AS views ON made.model = views.schema_name || '.' || views.view_name "
        "WHERE made.environment = 'prod' AND views.database_name = ? "
        "AND coalesce(made.due_at - made.known_until <= INTERVAL 1 DAY, TRUE)",
        [warehouse.CATALOG],
    ).fetchall()
    return {int(row[0]) for row in found}


def delete_orphans(connection: duckdb.DuckDBPyConnection, older_than: datetime, result: Upkeep | None = None) -> int:
    """Delete files from before `older_than` that no snapshot ever named: killed writers left them. Return their number.

    Raises:
        SearchFlowError: a file whose name the catalog knows would be deleted. DuckLake compares whole paths as text.
    """
    result = result or Upkeep()
    found = call(connection, "ducklake_delete_orphaned_files", result, older_than=older_than, dry_run=True)
    known = connection.execute(
        f"SELECT path FROM {CATALOG_TABLES}.ducklake_data_file UNION SELECT path FROM {CATALOG_TABLES}.ducklake_delete_file"
    ).fetchall()
    endangered = {PurePosixPath(str(row[0])).name for row in found} & {PurePosixPath(row[0]).name for row in known}
    if endangered:
        raise SearchFlowError(
            f"{len(endangered)} files have the name of a file in the catalog and would be deleted as orphans, for example "
            f"{min(endangered)}: the path of the lake is written in two ways, or its folder holds copies. Nothing was "
            "deleted; move the copies elsewhere."
        )
    return len(call(connection, "ducklake_delete_orphaned_files", result, older_than=older_than)) if found else 0


def trim_streams(settings: Settings, connection: duckdb.DuckDBPyConnection) -> int:
    """Remove entries whose events are stored. Return the number of removed entries.

    Ingestion does this after each commit. A worker that was killed between the two, and has had nothing to do since, has
    not done it.
    """
    with streams.connect(settings) as client:
        return sum(
            streams.trim(client, key, StreamPosition.parse(place).entry_id)
            for event_type in streams.EVENT_TYPES
            for key, place in positions(connection, event_type)
        )


def _tables(connection: duckdb.DuckDBPyConnection, *, ours: bool) -> list[tuple[str, str]]:
    """Return (schema, table) of our own tables, or of those that belong to SQLMesh."""
    found = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ? ORDER BY ALL", [warehouse.CATALOG]
    ).fetchall()
    return [(schema, table) for schema, table in found if (schema in OURS) == ours]


def _tidy_models(
    settings: Settings, connection: duckdb.DuckDBPyConnection, result: Upkeep, alone: lake_calls.Alone
) -> None:
    """Tidy the models' tables, as many at a time as fit. A waiting transformation or erasure takes its turn in between."""
    left = deque(_tables(connection, ours=False))
    while left:
        with locked(settings, "transformation", wait=True):
            until, there = time.monotonic() + HELD_SECONDS, _tables(connection, ours=False)
            while left and time.monotonic() < until:
                table = left.popleft()
                if table in there:  # a plan may have dropped it in between
                    _tidy(connection, [table], result, alone)


def _tidy(
    connection: duckdb.DuckDBPyConnection,
    tables: Iterable[tuple[str, str]],
    result: Upkeep,
    alone: lake_calls.Alone = nullcontext,
) -> None:
    """Move rows from the catalog into files, remove deleted rows from files, and merge small files."""
    for schema, table in tables:
        call(connection, lake_calls.FLUSH, result, alone=alone, schema_name=schema, table_name=table)
        call(connection, "ducklake_rewrite_data_files", result, table, schema=schema, delete_threshold=LEAST_DELETED)
        call(connection, "ducklake_merge_adjacent_files", result, table, schema=schema)


def call(
    connection: duckdb.DuckDBPyConnection,
    function: str,
    result: Upkeep,
    *places: str,
    alone: lake_calls.Alone = nullcontext,
    **options: object,
) -> list[tuple[object, ...]]:
    """Call one of DuckLake's functions and return its rows.

    When writers were faster at each attempt, return no rows and note the step in `result.skipped`.
    """
    try:
        return lake_calls.call(connection, function, *places, alone=alone, **options)
    except lake_calls.LostRaceError:
        result.skipped.append(" ".join([function.removeprefix("ducklake_"), *map(str, options.values()), *places]))
        return []


def _measure(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    lake = warehouse.CATALOG
    files = first_row(connection.execute(f"SELECT coalesce(sum(file_count), 0) FROM ducklake_table_info('{lake}')"))
    snapshots = first_row(connection.execute(f"SELECT count(*) FROM ducklake_snapshots('{lake}')"))
    assert files is not None
    assert snapshots is not None
    return int(files[0]), int(snapshots[0])
