"""What a first start makes, made once a run and copied for the homes of tests: PostgreSQL's files, and databases.

A first start of its own takes seconds a home: `initdb`, six databases, and each flush to the disk. First starts have tests that
begin with nothing (`tests/integration`, and everything that runs commands in an empty home). The copies do not flush: tests
kill processes, never the machine, and what a killed server has written the system still has.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from searchflow import lifecycle
from searchflow.services import postgres, prefect, process, valkey
from searchflow.settings import Settings, load_settings

NEVER_FLUSHED = "\nfsync = off\nfull_page_writes = off\n"
PREPARED = "prepared_"
"""Prefix of the databases that are copied."""
EMPTY, MIGRATED = "empty", "migrated"
FOLDER = "TEST_CLUSTERS"
"""The variable that tells the workers where the originals are."""


def give(settings: Settings, *, migrated: bool = False) -> Settings:
    """Put a cluster with all empty tables into a home that has none; with `migrated`, Prefect has made its tables too."""
    process.prepare_home(settings)
    made = _original(MIGRATED if migrated else EMPTY)
    subprocess.run(["cp", "-Rp", str(made), str(postgres.data_dir(settings))], check=True)  # thousands of files
    return settings


def start(settings: Settings, *, migrated: bool = False) -> None:
    """Start the servers of a home that has just been made."""
    lifecycle.start(give(settings, migrated=migrated))


def beside(platform: Settings, home: Path, prefix: str, **more: Any) -> Settings:
    """A home on the servers of another one, with databases of its own."""
    return load_settings(
        home=home,
        redis_url=valkey.url(platform),
        postgres_url=f"postgresql://postgres@/postgres?host={postgres.socket_folder(platform)}",
        postgres_prefix=prefix,
        **more,
    )


def start_beside(platform: Settings, settings: Settings) -> None:
    """Start such a home on copies of databases that were prepared once on these servers."""
    with psycopg.connect(postgres.server_conninfo(platform), autocommit=True) as server:
        if server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [f"{PREPARED}catalog"]).fetchone() is None:
            _prepare(platform)
        for name in postgres.DATABASES:
            made, of = (sql.Identifier(f"{prefix}{name}") for prefix in (settings.postgres_prefix, PREPARED))
            server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(made, of))
    with psycopg.connect(postgres.conninfo(settings, "catalog")) as catalog:
        catalog.execute(
            "UPDATE ducklake_metadata SET value = %s WHERE key = 'data_path' AND scope IS NULL", [settings.data_path]
        )
    lifecycle.start(settings)


def _prepare(platform: Settings) -> None:
    with tempfile.TemporaryDirectory(prefix="sf-") as folder:
        lifecycle.start(beside(platform, Path(folder), PREPARED))


def open_folder() -> None:
    """Make the folder of the originals, which the workers of this run share."""
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="sf-")


def remove_folder() -> None:
    """Remove the originals, at the end of the run."""
    shutil.rmtree(os.environ.pop(FOLDER), ignore_errors=True)


@functools.cache
def _original(name: str) -> Path:
    """The files of a cluster that the platform made and stopped. A home that gets them follows as one that was moved."""
    home = Path(os.environ[FOLDER]) / name
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first worker that needs it makes it
        if not (home / "made").exists():
            _make(load_settings(home=home), migrated=name == MIGRATED)
            (home / "made").touch()
    return postgres.data_dir(load_settings(home=home))


def _make(settings: Settings, *, migrated: bool) -> None:
    if migrated:
        give(settings)
    try:
        lifecycle.start(settings)
        if migrated:
            _migrate(settings)
    finally:
        lifecycle.stop_all(settings)
    if not migrated:
        with (postgres.data_dir(settings) / "postgresql.conf").open("a") as configuration:
            configuration.write(NEVER_FLUSHED)


def _migrate(settings: Settings) -> None:
    """Let Prefect make its tables, as its server does when it starts."""
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= prefect.client_environment(settings)
    environment["PREFECT_API_DATABASE_CONNECTION_URL"] = postgres.async_url(settings, "prefect")
    done = subprocess.run(command, env=environment, cwd=settings.home, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
