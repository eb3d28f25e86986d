"""The home's secret key, and keys derived from it, one a purpose: learning one tells nothing about the others."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from searchflow.settings import Settings

BYTES = 32


def derived(settings: Settings, purpose: str) -> bytes:
    """The key for a purpose: HMAC-SHA256 of its name with `SEARCHFLOW_SECRET_KEY`, or with the home's own key."""
    if settings.secret_key is not None:
        return hmac.new(settings.secret_key.get_secret_value().encode(), purpose.encode(), hashlib.sha256).digest()
    return hmac.new(_of_home(settings), purpose.encode(), hashlib.sha256).digest()


def _of_home(settings: Settings) -> bytes:
    """Made at first use; only this account may read it. It never has a default."""
    path = settings.home / "keys" / "secret"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_once(path)
    return path.read_bytes()


def _write_once(path: Path) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(BYTES))
    try:
        os.link(partial, path)  # the first of several processes wins, and no reader sees half a key
    except FileExistsError:
        pass
    finally:
        partial.unlink()
