"""What SQLMesh's DuckDB adapter does otherwise on DuckLake: replace rows in one commit, and read to the end.

- Readers never see a day or a key missing while it is rebuilt. SQLMesh replaces rows with a DELETE and an INSERT, in one
  transaction where the engine has them, and declares DuckDB as an engine that has none. DuckLake has: without this, a
  dashboard or a sync that reads in between finds the days empty.
- A thread that waits for work holds no transaction open in the catalog. DuckDB streams results: after `fetchone` the query
  is not over, and the lock on the catalog's tables of rows stays until the thread's next statement. `forget`, which drops
  such tables, would wait for it without end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import duckdb
from sqlmesh.core.engine_adapter import DuckDBEngineAdapter
from sqlmesh.core.engine_adapter.base import EngineAdapter

_replace_days = DuckDBEngineAdapter._insert_overwrite_by_condition
_replace_keys = DuckDBEngineAdapter._replace_by_key


@contextmanager
def at_once(adapter: EngineAdapter) -> Iterator[None]:
    """Let what the block executes take effect at its end, or not at all."""
    if not isinstance(adapter, DuckDBEngineAdapter):
        with adapter.transaction():
            yield
        return
    adapter.execute("BEGIN TRANSACTION")
    try:
        yield
    except BaseException:
        with suppress(duckdb.Error):  # without its catalog there is nothing to roll back
            adapter.execute("ROLLBACK")
        raise
    adapter.execute("COMMIT")


def _in_transaction(replace: Callable[..., None]) -> Callable[..., None]:
    def replaced(self: DuckDBEngineAdapter, *args: Any, **kwargs: Any) -> None:
        with at_once(self):
            replace(self, *args, **kwargs)

    return replaced


def _first_row(self: DuckDBEngineAdapter, *args: Any, **kwargs: Any) -> tuple[Any, ...] | None:
    rows = self.fetchall(*args, **kwargs)
    return rows[0] if rows else None


def install() -> None:
    """Make SQLMesh's DuckDB adapter do so in this process."""
    DuckDBEngineAdapter.fetchone = _first_row
    DuckDBEngineAdapter._insert_overwrite_by_condition = _in_transaction(_replace_days)
    DuckDBEngineAdapter._replace_by_key = _in_transaction(_replace_keys)
