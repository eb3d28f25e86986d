"""A session with the ledger database: what the ledger of syncs and that of messages share.

Each has a schema whose tables a file of SQL beside it makes, and a lock that one process of a home holds while it
writes. The lock ends with the session, however that ends.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import psycopg

from searchflow import services
from searchflow.errors import BusyError, ServiceError
from searchflow.services import locks
from searchflow.settings import Settings

LOCK_WAIT = 2.0
"""The seconds to wait for the lock. The session of a run that ended, or was killed, takes a moment to end on the
server."""


class LedgerSession:
    """One connection. A subclass says which schema, which file makes it, and what its lock is called."""

    SCHEMA: ClassVar[str]
    SETUP: ClassVar[Path]
    """The tables, each with its meaning; safe to run again."""
    LOCK: ClassVar[str]
    PROGRAM: ClassVar[str]
    """The name in the server's lists of sessions."""
    BUSY: ClassVar[str]
    """The message when another process holds the lock; `{holder}` is that process."""
    GONE: ClassVar[str]
    """The message when the server stops answering while something is written."""

    def __init__(self, settings: Settings) -> None:
        name = f"searchflow {self.PROGRAM}, process {os.getpid()}"
        try:
            self._connection = psycopg.connect(
                services.postgres_dsn(settings, "ledger"), autocommit=True, application_name=name
            )
        except psycopg.OperationalError:
            services.postgres.check(settings)  # says it better when the server is the reason
            raise ServiceError("The ledger database cannot be opened. Run `searchflow up`.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def prepare(self) -> None:
        """Make the tables, or bring those of an earlier version up to date."""
        setup = self.SETUP.read_bytes()
        version = hashlib.sha256(setup).hexdigest()[:16]
        if self._one(f"SELECT obj_description(to_regnamespace('{self.SCHEMA}'), 'pg_namespace')") == version:
            return
        with self._connection.transaction():  # CREATE ... IF NOT EXISTS may race with another process
            self._connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [locks.setup(self.SCHEMA)]
            )
            self._connection.execute(setup)
            self._connection.execute(f"COMMENT ON SCHEMA {self.SCHEMA} IS '{version}'")

    def try_lock(self) -> bool:
        """Take the lock, and return whether no other process had it."""
        return locks.try_lock(self._connection, self.LOCK)

    def lock(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Take the lock: one process works at a time.

        Raises:
            BusyError: another process holds the lock.
        """
        waited, step = 0.0, 0.1
        while not self.try_lock():
            if waited >= LOCK_WAIT:
                raise BusyError(self.BUSY.format(holder=self._holder()))
            sleep(step)
            waited += step

    def _holder(self) -> str:
        found = locks.holder(self._connection, self.LOCK)
        return found[0] if found else "another process"

    def _one(self, query: str, *values: Any) -> Any:
        """Return the first value of the first row of an answer."""
        row = self._connection.execute(query, list(values)).fetchone()
        return None if row is None else row[0]

    @contextmanager
    def _writing(self) -> Iterator[psycopg.Cursor]:
        """Open a transaction for writing.

        Raises:
            ServiceError: the server is gone.
        """
        try:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                yield cursor
        except psycopg.OperationalError:
            raise ServiceError(self.GONE) from None
