"""A moment that commits respect: everything stamped up to it is visible, everything after it is stamped later.

Models of one transformation read only events that were ingested up to such a moment, so they all see the same. Each
commit takes its time stamp and becomes visible under a shared lock; a cut holds the lock alone while it reads the
clock. The locks are PostgreSQL's, so this holds between machines, and a killed process keeps none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Self

import psycopg

from searchflow.services import postgres
from searchflow.settings import Settings

LOCK = 5_347_006  # any number that nobody else uses in the ledger database


class CommitGate:
    """Held open by a worker; `commit()` surrounds each commit."""

    def __init__(self, settings: Settings) -> None:
        self._connection = psycopg.connect(postgres.conninfo(settings, "ledger"), autocommit=True)

    @contextmanager
    def commit(self) -> Iterator[None]:
        """Read the clock and commit inside."""
        self._connection.execute("SELECT pg_advisory_lock_shared(%s)", [LOCK])
        try:
            yield
        finally:
            if not self._connection.closed:
                self._connection.execute("SELECT pg_advisory_unlock_shared(%s)", [LOCK])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()


def take(settings: Settings, clock: Callable[[], datetime]) -> datetime:
    """A moment up to which every commit is visible. Waits for commits under way, a few seconds at the most."""
    with psycopg.connect(postgres.conninfo(settings, "ledger"), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        return clock()
