"""The wall clock, read at the edges and passed on: flows and commands read it, everything deeper is given a `now`.

A test may play another day: SEARCHFLOW_CLOCK_OFFSET_S moves what `utc_now` says in every process of a home. The clocks of
servers stay where they are, so what they stamp (entries of streams, snapshots and files of the lake, rows that PostgreSQL
dates, schedules of Prefect) is compared with `server_now`.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta

from searchflow.settings import load_settings


def utc_now() -> datetime:
    """The moment that SearchFlow goes by."""
    return server_now() + _offset()


def server_now() -> datetime:
    """The moment by the clocks of servers and files, which no setting moves."""
    return datetime.now(UTC)


@functools.cache
def _offset() -> timedelta:
    """How far a test moved the clock; nothing outside tests.

    Raises:
        ConfigurationError: the setting is there and the home is no home of a test.
    """
    return timedelta(seconds=load_settings().clock_offset_s)
