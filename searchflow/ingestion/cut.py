"""Cuts in time that commits respect: everything stamped up to a cut is visible, and everything after it is stamped
later.

Models of one transformation read only events that were ingested up to a cut, so they all see the same events. Each
commit takes its time stamp and becomes visible under a shared lock; a cut holds the lock alone while it reads the
clock. The locks are PostgreSQL's, so they hold between machines, and a killed process keeps none.

A clock may step back, and two machines' clocks differ. So the newest stamp and the newest cut are kept on the server:
no stamp and no cut is earlier than those before it, and a stamp is later than every cut before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import LiteralString, Self

import psycopg

from searchflow import warehouse
from searchflow.errors import ServiceError
from searchflow.fetching import first_row
from searchflow.ingestion.tombstones import Tombstones
from searchflow.services import locks, postgres
from searchflow.settings import Settings

SETUP = """
    CREATE SCHEMA IF NOT EXISTS monitoring;
    CREATE TABLE IF NOT EXISTS monitoring.moments (
        one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one), stamped TIMESTAMPTZ NOT NULL, cut TIMESTAMPTZ NOT NULL)
"""
STAMP = """
    UPDATE monitoring.moments SET stamped = greatest(stamped, %s, cut + INTERVAL '1 microsecond') RETURNING stamped"""
CUT = "UPDATE monitoring.moments SET cut = greatest(cut, stamped, %s) RETURNING cut"
START = datetime(1970, 1, 1, tzinfo=UTC)


def prepare(settings: Settings) -> None:
    """Make the table of the newest moments from what the lake holds. It is safe to call this again."""
    with psycopg.connect(postgres.conninfo(settings, "ledger")) as connection:
        known = connection.execute("SELECT to_regclass('monitoring.moments')").fetchone()
        if known is not None and known[0] is not None:
            return
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [locks.COMMITS])
        connection.execute(SETUP)
        newest = _newest(settings)
        connection.execute(
            "INSERT INTO monitoring.moments (stamped, cut) VALUES (%s, %s) ON CONFLICT DO NOTHING", [newest, newest]
        )


def _newest(settings: Settings) -> datetime:
    """Return the latest moment at which something was committed."""
    with warehouse.connect(settings, read_only=True) as lake:
        row = first_row(lake.execute("SELECT max(committed_at) FROM ops.ingestion_batches"))
    return START if row is None or row[0] is None else row[0].replace(tzinfo=UTC)


def _moment(connection: psycopg.Connection, statement: LiteralString, now: datetime) -> datetime:
    row = connection.execute(statement, [now]).fetchone()
    if row is None:
        raise ServiceError("The ledger has lost the newest moment (monitoring.moments is empty). Restore the ledger.")
    moment: datetime = row[0]
    return moment.astimezone(UTC)


class CommitGate:
    """A gate that a worker holds open. `commit()` surrounds each of its commits."""

    def __init__(self, settings: Settings) -> None:
        self._connection = psycopg.connect(postgres.conninfo(settings, "ledger"), autocommit=True)
        self._tombstones = Tombstones(settings)
        row = self._connection.execute("SELECT stamped FROM monitoring.moments").fetchone()
        self._newest: datetime = START if row is None else row[0].astimezone(UTC)

    def stamp(self, clock: Callable[[], datetime]) -> datetime:
        """Return the moment of a commit: now, but never before an earlier commit's moment or a cut. Ask inside
        `commit()`.
        """
        self._newest = _moment(self._connection, STAMP, clock())
        return self._newest

    def steady(self, clock: Callable[[], datetime]) -> Callable[[], datetime]:
        """Return the clock's time without its steps back behind the newest stamp. Events are checked against this time."""
        return lambda: max(clock(), self._newest)

    @contextmanager
    def commit(self, event_types: Iterable[str] = ()) -> Iterator[None]:
        """Take the stamp and commit inside the block, while no other worker commits these types."""
        with self.alone(event_types):
            self._connection.execute("SELECT pg_advisory_lock_shared(%s)", [locks.COMMITS])
            yield

    @contextmanager
    def alone(self, event_types: Iterable[str]) -> Iterator[None]:
        """Keep other workers from committing events of these types inside the block.

        Workers on several shards of a type commit one after the other: DuckLake would refuse the later of two commits
        that overlap, and its work would be done again.
        """
        try:
            for event_type in sorted(event_types):  # in one order, so that no two wait for each other
                self._connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [locks.turn(event_type)])
            yield
        finally:
            if not self._connection.closed:
                self._connection.execute("SELECT pg_advisory_unlock_all()")

    def tombstones(self) -> Tombstones:
        """Return the list of forgotten people. Ask inside `commit()`: no one is forgotten between the question and the
        commit.
        """
        return self._tombstones.refresh(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()


@contextmanager
def commits_held(settings: Settings) -> Iterator[psycopg.Connection]:
    """Keep commits of events, feeds and replayed dead letters out of the block, after waiting for those under way.
    Yield the ledger's connection.
    """
    with psycopg.connect(postgres.conninfo(settings, "ledger"), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [locks.COMMITS])
        yield connection


def take(settings: Settings, clock: Callable[[], datetime]) -> datetime:
    """Take a moment up to which every commit is visible, never before an earlier cut. Wait for commits under way, at
    most a few seconds.
    """
    with psycopg.connect(postgres.conninfo(settings, "ledger"), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [locks.COMMITS])
        return _moment(connection, CUT, clock())
