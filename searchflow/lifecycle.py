"""The start and the stop of the servers of one home, in order."""

from __future__ import annotations

import signal

from searchflow import moved_home, tables
from searchflow.errors import ServiceError
from searchflow.ingestion import cut, tombstones
from searchflow.ops import audit_log, stages
from searchflow.services import forks, postgres, prefect, process, valkey
from searchflow.settings import Settings

SERVERS = (valkey.NAME, postgres.NAME)
RUNNER = "flows"
"""The process that runs the deployments. On SIGTERM it kills its flow runs with SIGKILL, so they get SIGTERM first."""
PATIENCE, PATIENCE_WITH_RUNS = 20.0, 60.0
"""The seconds to wait for an end. A follower of the models finishes its pass; one over all models takes a quarter of a minute
on a busy machine."""


def start(settings: Settings) -> None:
    """Start the embedded servers, check the configured ones, and make databases and the lake's tables. Safe to call again.

    Raises:
        ServiceError, StorageError, ConfigurationError: each names what to change.
    """
    enter_home(settings)
    with process.locked(settings, "services", wait=True):
        valkey.start(settings)
        postgres.start(settings)
        moved_home.follow(settings)
        tables.prepare(settings)
        audit_log.prepare(settings)
        stages.prepare(settings)
        tombstones.prepare(settings)
        cut.prepare(settings)


def enter_home(settings: Settings) -> None:
    """Check the configured servers, then make the home folder: so a wrong URL leaves no traces."""
    if settings.redis_url is not None:
        valkey.check(settings)
    if settings.postgres_url is not None:
        postgres.check(settings)
    process.prepare_home(settings)


def stopped(settings: Settings) -> list[str]:
    """Return the servers that `start` would start, by the names that people know. A server that a URL names is never one."""
    embedded = ((valkey.NAME, "Valkey", settings.redis_url), (postgres.NAME, "PostgreSQL", settings.postgres_url))
    return [title for name, title, url in embedded if url is None and process.running(settings, name) is None]


def exists(settings: Settings) -> bool:
    """Return True when this home was started before, with its own servers or on servers that URLs name."""
    return settings.run_dir.is_dir()


def require(settings: Settings, *, streams: bool = True) -> None:
    """Check that the servers answer and hold what `start` makes, without starting or making anything.

    Without `streams` only PostgreSQL is checked.

    Raises:
        ServiceError: a server does not answer, or there is no such home; says what to run.
        StorageError: a full disk has ended a server.
    """
    if not exists(settings):
        raise ServiceError(
            f"There is no SearchFlow home at {settings.home}. Set SEARCHFLOW_HOME to yours, or run `searchflow demo` "
            "to make one."
        )
    wanted = [name for name in stopped(settings) if streams or name != "Valkey"]
    if wanted:
        if process.out_of_room(settings):
            raise process.disk_full(settings)
        raise ServiceError(
            f"{' and '.join(wanted)} of {settings.home} {'is' if len(wanted) == 1 else 'are'} stopped. "
            "Run `searchflow up`."
        )
    if streams:
        valkey.check(settings)
    postgres.check(settings)
    if not postgres.prepared(settings):
        raise ServiceError(
            f"{settings.home} holds no data yet. Run `searchflow demo`, or `searchflow ingest` for yours."
        )


def stop_all(settings: Settings) -> list[str]:
    """Stop every process recorded under this home. The data stays.

    Flow runs end first, while there is still a Prefect server to tell; the servers that hold data end last.
    """
    if not settings.run_dir.exists():
        return []
    background = [name for name in process.recorded(settings) if name not in SERVERS]
    background.sort(key=lambda name: (name == prefect.NAME, name != RUNNER))
    stopped = [
        name
        for name in background
        if process.stop(
            settings,
            name,
            signal=signal.SIGTERM,
            patience=PATIENCE_WITH_RUNS if name == RUNNER else PATIENCE,
            children_first=name == RUNNER,
        )
    ]
    if orphans := forks.end_orphans(settings.run_dir):
        stopped.append(f"{len(orphans)} {'processes' if len(orphans) > 1 else 'process'} whose parent was killed")
    if valkey.stop(settings):
        stopped.append(valkey.NAME)
    if postgres.stop(settings):
        stopped.append(postgres.NAME)
    return stopped
