"""The one place that judges which errors pass by themselves: a server that was away comes back, another process ends."""

from __future__ import annotations

import duckdb
import psycopg
import redis

from searchflow.errors import ConfigurationError, SearchFlowError, SourceGapError, StorageError, UsageError

FROM_SERVERS = (duckdb.Error, psycopg.Error, redis.RedisError, OSError)
"""The errors of libraries that a server which is away may cause, anywhere."""
FINAL = (UsageError, ConfigurationError, StorageError, SourceGapError)
"""The errors whose cause only a person can change."""


def is_passing(error: BaseException) -> bool:
    """Return True when the same work may succeed later although no one does anything. A bug does not pass.

    >>> is_passing(ConnectionResetError()), is_passing(UsageError("no such file")), is_passing(ValueError())
    (True, False, False)
    """
    return isinstance(error, (SearchFlowError, *FROM_SERVERS)) and not isinstance(error, FINAL)
