"""Upkeep of the lake: small commits out of the catalog, small files into larger ones, old snapshots and files away.

Safe beside readers and writers: each step is a transaction of its own, and snapshots are kept long enough for any
reader that is still at work.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from searchflow import warehouse
from searchflow.errors import SearchFlowError
from searchflow.settings import Settings

KEEP_SNAPSHOTS = timedelta(hours=24)
"""A dashboard, suite or time-travel query may hold a snapshot; none does for a day."""


@dataclass(frozen=True)
class Upkeep:
    """The lake before and after."""

    files_before: int
    files_after: int
    snapshots_before: int
    snapshots_after: int
    skipped: list[str]


def run(settings: Settings, *, now: datetime) -> Upkeep:
    """Flush inlined rows, merge adjacent files, expire snapshots and delete files nobody needs."""
    older_than = (now - KEEP_SNAPSHOTS).strftime("%Y-%m-%d %H:%M:%S+00")
    lake = warehouse.CATALOG
    statements = {
        "flush": f"CALL ducklake_flush_inlined_data('{lake}')",
        "merge": f"CALL ducklake_merge_adjacent_files('{lake}')",
        "expire": f"CALL ducklake_expire_snapshots('{lake}', older_than => TIMESTAMPTZ '{older_than}')",
        "clean": f"CALL ducklake_cleanup_old_files('{lake}', older_than => TIMESTAMPTZ '{older_than}')",
    }
    skipped: list[str] = []
    with warehouse.connect(settings) as connection:
        before = _measure(connection)
        for step, statement in statements.items():
            try:
                connection.execute(statement).fetchall()
            except duckdb.Error as error:
                if "conflict" not in str(error).lower():
                    raise SearchFlowError(
                        f"Maintenance stopped at {step}: {str(error).splitlines()[0][:300]}. Nothing is lost; run it again."
                    ) from error
                skipped.append(step)  # a writer was faster; the next run does it
        after = _measure(connection)
    return Upkeep(before[0], after[0], before[1], after[1], skipped)


def _measure(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    lake = warehouse.CATALOG
    files = connection.execute(f"SELECT coalesce(sum(file_count), 0) FROM ducklake_table_info('{lake}')").fetchone()
    snapshots = connection.execute(f"SELECT count(*) FROM ducklake_snapshots('{lake}')").fetchone()
    assert files is not None
    assert snapshots is not None
    return int(files[0]), int(snapshots[0])
