"""Locks: every advisory lock of an installation, and how a named one is held.

PostgreSQL keeps the locks, so they hold between machines, and the server releases them when their connection ends,
however it ends. A lock is a number, or a name of which the server takes the hash. All numbers are declared here, so no
two uses can take the same one; those that SQL files write themselves are checked against this list
(`tests/platform/test_locks.py`).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import psycopg

from searchflow.services import forks, postgres, waiting
from searchflow.settings import Settings

COMMITS = 5_347_006
"""The lock that each commit into raw shares, and a cut (`searchflow.ingestion.cut`) holds alone."""
TOMBSTONES_SETUP = 5_347_020
"""The lock for making the list of forgotten people."""
AUDIT_SETUP = 5_927_100
"""The lock for making the audit log."""
AUDIT_CHAIN = 5_927_101
"""The lock for appending to the audit log: each entry is chained to the one before it. It is taken by
`ops/audit_log.sql`.
"""
STAGES = 5_927_103
"""The locks of monitoring. With 0: making its tables. With a ticket: the run of a stage lives."""
NOTICES = 5_927_104
"""The locks of notices. With 1: states of service levels are being compared. With 2: notices are being delivered."""
PUBLISHING = 5_927_120
"""The lock for publishing the marts, in the database that they are published to."""

ERASURE = "forget"
"""The lock that an erasure holds from its beginning to its end."""
SYNC_DELIVERY, EMAIL_DELIVERY = "sync delivery", "email delivery"
"""The locks of the one process that sends to destinations, and of the one that sends e-mail."""
PAUSE_SECONDS = 0.05


def transformation(environment: str) -> str:
    """Name the lock of a transformation: one at a time in an environment."""
    return f"transform {environment}"


def follower(stream: str) -> str:
    """Name the lock of the one process that follows a stream."""
    return f"follow {stream}"


def turn(event_type: str) -> str:
    """Name the lock that a worker holds while it commits events of a type."""
    return f"commit of {event_type} events"


def models_follower(environment: str) -> str:
    """Name the lock of the one process that keeps the models of an environment up to date."""
    return f"follow models {environment}"


def setup(schema: str) -> str:
    """Name the lock under which a schema of the ledger is made."""
    return f"{schema} setup"


@contextmanager
def advisory_lock(settings: Settings, name: str, *, behind: str | None = None) -> Iterator[None]:
    """Hold a named lock of this installation on the server, waiting for it. It holds between machines too.

    While another session holds the lock `behind`, that session goes first.

    The lock is asked for again and again: a session that waits inside a statement holds a snapshot, and as long as it
    does, PostgreSQL cannot remove what an erasure has deleted. The server releases the lock when the process ends,
    however it ends, also when children that it forked live on. After five seconds the wait says which process holds the
    lock.
    """
    with _lock_connection(settings) as connection:
        silent_until = time.monotonic() + waiting.SILENT_SECONDS
        while (first := behind is not None and _is_held(connection, behind)) or not try_lock(connection, name):
            if time.monotonic() >= silent_until:
                waiting.say(_who_holds(connection, behind if first and behind is not None else name))
                silent_until = math.inf
            time.sleep(PAUSE_SECONDS)
        yield


@contextmanager
def try_advisory_lock(settings: Settings, name: str) -> Iterator[bool]:
    """Try to take the lock without waiting. Yield True when this process holds it, False when another session does."""
    with _lock_connection(settings) as connection:
        yield try_lock(connection, name)


def is_held(settings: Settings, name: str) -> bool:
    """Return True while any session holds the named lock. The lock is not taken, not even for a moment."""
    with psycopg.connect(postgres.conninfo(settings, "ledger"), autocommit=True) as connection:
        return _is_held(connection, name)


@contextmanager
def _lock_connection(settings: Settings) -> Iterator[psycopg.Connection]:
    """Open a connection for locks, which no forked child has. Its name says which process it belongs to."""
    told = f"{waiting.command()}|{os.getpid()}"[:63]
    with (
        psycopg.connect(postgres.conninfo(settings, "ledger"), autocommit=True, application_name=told) as connection,
        forks.not_inherited(connection.fileno(), settings.run_dir),
    ):
        yield connection


def try_lock(connection: psycopg.Connection, name: str) -> bool:
    """Take the named lock for the life of this connection. Return False when another session holds it."""
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name]).fetchone()
    return bool(row and row[0])


HOLDER = """
    SELECT application_name, query_start
    FROM pg_locks JOIN pg_stat_activity USING (pid), (SELECT hashtextextended(%s, 0) AS key) AS wanted
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
      AND (classid::bigint << 32 | objid::bigint) = wanted.key
      AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""The query for the connection that holds a lock. Taking the lock was its last statement. The server shows a lock's
number as two halves.
"""


def _is_held(connection: psycopg.Connection, name: str) -> bool:
    return holder(connection, name) is not None


def holder(connection: psycopg.Connection, name: str) -> tuple[str, datetime | None] | None:
    """Find the session that holds the named lock: its application name, and when it took the lock. Return None when the
    lock is free.
    """
    row = connection.execute(HOLDER, [name]).fetchone()
    return None if row is None else (str(row[0]), row[1])


def _who_holds(connection: psycopg.Connection, name: str) -> str:
    row = holder(connection, name)
    told, since = row if row is not None else ("", None)
    command, _, pid = told.partition("|")
    return waiting.sentence(name, pid or "unknown", command, since)
