"""The home's secrets: its key, one key derived from it for each purpose, and the password of its Prefect server.

A process that learns one derived key learns nothing about the others.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from searchflow.settings import Settings

BYTES = 32


def derived(settings: Settings, purpose: str) -> bytes:
    """Return the key for a purpose: HMAC-SHA256 of its name with `SEARCHFLOW_SECRET_KEY`, or with the home's own key."""
    if settings.secret_key is not None:
        return hmac.new(settings.secret_key.get_secret_value().encode(), purpose.encode(), hashlib.sha256).digest()
    return hmac.new(_of_home(settings), purpose.encode(), hashlib.sha256).digest()


def _of_home(settings: Settings) -> bytes:
    return _kept(settings, "secret", lambda: secrets.token_bytes(BYTES))


def prefect_password(settings: Settings) -> str:
    """Return the password of this home's Prefect server.

    To get another one, remove the file `keys/prefect` while the server is down.
    """
    return _kept(settings, "prefect", lambda: secrets.token_urlsafe(BYTES).encode()).decode().strip()


def _kept(settings: Settings, name: str, make: Callable[[], bytes]) -> bytes:
    """Return a secret of this home. It is made at first use and never has a default; only this account may read its file."""
    path = settings.home / "keys" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_once(path, make())
    return path.read_bytes()


def _write_once(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    try:
        os.link(partial, path)  # the first of several processes wins, and no reader sees half a key
    except FileExistsError:
        pass
    finally:
        partial.unlink()
