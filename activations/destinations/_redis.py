"""Helpers that the Redis destinations share: the client, and failures sorted by what happens next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from activations.errors import Retryable
from searchflow import services
from searchflow.errors import ConfigurationError
from searchflow.settings import Settings

SILENCE = 30.0
"""Seconds without an answer after which a connection counts as gone."""
PASSING = ("MISCONF", "LOADING", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "BUSY", "NOREPLICAS", "OOM")
REFUSED = ("NOAUTH", "WRONGPASS", "NOPERM")


def client(settings: Settings) -> redis.Redis:
    """Return a client that does not retry by itself: the engine does, and counts."""
    made = services.valkey.client(settings)
    made.connection_pool.connection_kwargs["socket_timeout"] = SILENCE
    made.set_retry(Retry(NoBackoff(), 0))
    return made


@contextmanager
def sorted_failures(where: str) -> Iterator[None]:
    """Turn the client's errors into our own. Server texts are not repeated: they may quote what we sent."""
    try:
        yield
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise _refused(error) from None
    except (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, redis.OutOfMemoryError) as error:
        raise Retryable(f"Redis: {type(error).__name__}") from error
    except redis.ResponseError as error:
        code = str(error).partition(" ")[0]
        if code in REFUSED:
            raise _refused(error) from None
        if code in PASSING:
            raise Retryable(f"Redis: {code}") from error
        raise ConfigurationError(
            where, f"Redis answers {code}.", "Is the key used for something else? Choose another in the sync file."
        ) from None


def _refused(error: Exception) -> ConfigurationError:
    return ConfigurationError(
        "SEARCHFLOW_REDIS_URL",
        f"the server refused us ({type(error).__name__}).",
        "Correct user, password or its rights.",
    )
