"""Readers never see a day missing while it is made anew.

SQLMesh replaces days with a DELETE and an INSERT, in one transaction where the engine has them, and declares DuckDB as
an engine that has none. DuckLake has: without this, a dashboard or a sync that reads in between finds the days empty.
"""

from __future__ import annotations

from typing import Any

from sqlmesh.core.engine_adapter import DuckDBEngineAdapter

_replace_days = DuckDBEngineAdapter._insert_overwrite_by_condition


def _replace_days_at_once(self: DuckDBEngineAdapter, *args: Any, **kwargs: Any) -> None:
    self.execute("BEGIN TRANSACTION")
    try:
        _replace_days(self, *args, **kwargs)
    except BaseException:
        self.execute("ROLLBACK")
        raise
    self.execute("COMMIT")


def install() -> None:
    """Make SQLMesh's DuckDB adapter replace days in one transaction, in this process."""
    DuckDBEngineAdapter._insert_overwrite_by_condition = _replace_days_at_once
