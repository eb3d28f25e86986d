"""PostgreSQL's files as a first start leaves them, made once a process and copied into the homes of tests.

A first start of its own takes seconds a home: `initdb`, six databases, and each flush to the disk. First starts have tests that
begin with nothing (`tests/integration`, and everything that runs commands in an empty home). The copies do not flush: tests
kill processes, never the machine, and what a killed server has written the system still has.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from searchflow import services
from searchflow.services import postgres, prefect, process
from searchflow.settings import Settings, load_settings

NEVER_FLUSHED = "\nfsync = off\nfull_page_writes = off\n"
_made_homes: list[Path] = []


def give(settings: Settings, *, migrated: bool = False) -> Settings:
    """Put a cluster with our empty databases into a home that has none; with `migrated`, Prefect has made its tables."""
    process.prepare_home(settings)
    shutil.copytree(_with_prefect() if migrated else _empty(), postgres.data_dir(settings))
    return settings


def start(settings: Settings, *, migrated: bool = False) -> None:
    """Start the servers of a home that has just been made."""
    services.start(give(settings, migrated=migrated))


def clear() -> None:
    """Remove the originals, at the end of a run."""
    while _made_homes:
        shutil.rmtree(_made_homes.pop(), ignore_errors=True)
    _empty.cache_clear()
    _with_prefect.cache_clear()


@functools.cache
def _empty() -> Path:
    return _made(migrated=False)


@functools.cache
def _with_prefect() -> Path:
    return _made(migrated=True)


def _made(*, migrated: bool) -> Path:
    """The files of a cluster that the platform made and stopped."""
    home = Path(tempfile.mkdtemp(prefix="sf-"))
    _made_homes.append(home)
    settings = load_settings(home=home)
    if migrated:
        give(settings)
    process.prepare_home(settings)
    postgres.start(settings)
    try:
        if migrated:
            _migrate(settings)
    finally:
        postgres.stop(settings)
    data = postgres.data_dir(settings)
    if not migrated:
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write(NEVER_FLUSHED)
    return data


def _migrate(settings: Settings) -> None:
    """Let Prefect make its tables, as its server does when it starts."""
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= prefect.client_environment(settings)
    environment["PREFECT_API_DATABASE_CONNECTION_URL"] = postgres.async_url(settings, "prefect")
    done = subprocess.run(command, env=environment, cwd=settings.home, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
