"""The wall clock, read at the edges and passed on: flows and commands read it, and everything deeper is given a `now`.

A test may play another day: SEARCHFLOW_CLOCK_OFFSET_S moves what `utc_now` returns in every process of a home. The clocks
of servers stay where they are. So compare what servers stamp (entries of streams, snapshots and files of the lake, rows
that PostgreSQL dates, schedules of Prefect) with `server_now`.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta

from searchflow.settings import load_settings


def utc_now() -> datetime:
    """Return the present moment as SearchFlow counts it, moved by SEARCHFLOW_CLOCK_OFFSET_S."""
    return server_now() + _offset()


def server_now() -> datetime:
    """Return the present moment by the clocks of servers and files, which no setting moves."""
    return datetime.now(UTC)


@functools.cache
def _offset() -> timedelta:
    """Return how far a test moved the clock; outside tests the offset is zero.

    Raises:
        ConfigurationError: the setting is there and the home does not belong to a test.
    """
    return timedelta(seconds=load_settings().clock_offset_s)
