"""A moment that commits respect: everything stamped up to it is visible, everything after it is stamped later.

Models of one transformation read only events that were ingested up to such a moment, so they all see the same. Each
commit takes its time stamp and becomes visible under a shared lock; a cut holds the lock alone while it reads the
clock. The locks are PostgreSQL's, so this holds between machines, and a killed process keeps none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Self

import psycopg

from searchflow.privacy.tombstones import Tombstones
from searchflow.services import postgres
from searchflow.settings import Settings

LOCK = 5_347_006  # any number that nobody else uses in the ledger database
TURNS = {"search": 5_347_011, "click": 5_347_012, "conversion": 5_347_013}
"""Workers on several shards of a type commit one after the other: DuckLake would refuse the later of two commits that
overlap, and its work would be done again."""


class CommitGate:
    """Held open by a worker; `commit()` surrounds each commit."""

    def __init__(self, settings: Settings) -> None:
        self._connection = psycopg.connect(postgres.conninfo(settings, "ledger"), autocommit=True)
        self._tombstones = Tombstones(settings)

    @contextmanager
    def commit(self, event_types: Iterable[str] = ()) -> Iterator[None]:
        """Read the clock and commit inside, alone with these types."""
        with self.alone(event_types):
            self._connection.execute("SELECT pg_advisory_lock_shared(%s)", [LOCK])
            yield

    @contextmanager
    def alone(self, event_types: Iterable[str]) -> Iterator[None]:
        """No worker commits events of these types inside."""
        try:
            for event_type in sorted(event_types):  # in one order, so that nobody waits in a ring
                self._connection.execute("SELECT pg_advisory_lock(%s)", [TURNS[event_type]])
            yield
        finally:
            if not self._connection.closed:
                self._connection.execute("SELECT pg_advisory_unlock_all()")

    def tombstones(self) -> Tombstones:
        """Who was forgotten. Ask inside `commit()`: nobody is forgotten between the question and the commit."""
        return self._tombstones.refresh(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()


@contextmanager
def commits_held(settings: Settings) -> Iterator[psycopg.Connection]:
    """No commit of events, feeds or replayed letters inside: those under way are awaited. Gives the ledger's connection."""
    with psycopg.connect(postgres.conninfo(settings, "ledger"), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        yield connection


def take(settings: Settings, clock: Callable[[], datetime]) -> datetime:
    """A moment up to which every commit is visible. Waits for commits under way, a few seconds at the most."""
    with psycopg.connect(postgres.conninfo(settings, "ledger"), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        return clock()
