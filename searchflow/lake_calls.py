"""Calls of DuckLake's own functions for upkeep, made so that a lost race harms nothing.

When another commit comes first, DuckLake tries a commit again by itself. For a flush of inlined rows this is wrong in
DuckLake d8a1881e (DuckDB 1.5.5): the second try has forgotten the deletions that it had to flush. Deleted rows come back,
and a later rewrite of their file ends with an INTERNAL error that takes the whole DuckDB with it. So DuckLake may try a
flush only once, and this module repeats the whole statement. Tests have shown that DuckLake repeats all other commits
correctly, also those of a merge or a rewrite (`tests/platform/test_lost_races.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import duckdb

from searchflow import warehouse
from searchflow.backoff import Backoff
from searchflow.errors import SearchFlowError, engine_reason

FLUSH = "ducklake_flush_inlined_data"
AGAIN = Backoff(attempts=12, first=0.05)
POLITE_ATTEMPTS = 3
"""The number of attempts after which no other process may commit beside a flush."""
LOST_RACES = ("conflict", "could not serialize", "failed to delete flushed inlined data", "maximum retry count")
"""The texts in errors that mean that another commit came first."""

Alone = Callable[[], AbstractContextManager[object]]


class LostRaceError(SearchFlowError):
    """The error when other commits were faster at each attempt. Nothing was changed."""


def call(
    connection: duckdb.DuckDBPyConnection, function: str, *places: str, alone: Alone = nullcontext, **options: object
) -> list[tuple[object, ...]]:
    """Call one of DuckLake's functions and return its rows. `alone` keeps other processes from committing while it lasts.

    Raises:
        LostRaceError: other commits were faster at each attempt.
        SearchFlowError: the call failed for another reason.
    """
    named = ", ".join(f"{name} => ${name}" for name in options)
    arguments = ", ".join([f"'{each}'" for each in (warehouse.CATALOG, *places)] + ([named] if named else []))
    for attempt in AGAIN.tries():
        try:
            with alone() if attempt > POLITE_ATTEMPTS else nullcontext():
                return _once(connection, function, f"CALL {function}({arguments})", options)
        except duckdb.Error as error:
            if not any(text in str(error).lower() for text in LOST_RACES):
                raise SearchFlowError(
                    f"Maintenance stopped at {function}: {engine_reason(error)}. Nothing is lost; run it again."
                ) from error
    raise LostRaceError(f"Maintenance gave up at {function}: other commits came first each time. Run it again.")


def _once(
    connection: duckdb.DuckDBPyConnection, function: str, statement: str, options: dict[str, object]
) -> list[tuple[object, ...]]:
    if function != FLUSH:
        return connection.execute(statement, options).fetchall()
    connection.execute("SET ducklake_max_retry_count = 0")
    try:
        return connection.execute(statement, options).fetchall()
    finally:
        connection.execute(f"SET ducklake_max_retry_count = {warehouse.COMMIT_SETTINGS['ducklake_max_retry_count']}")
