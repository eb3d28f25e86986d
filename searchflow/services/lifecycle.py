"""Start and stop the servers of one home, in order."""

from __future__ import annotations

import signal

from searchflow import warehouse
from searchflow.ingestion import cut
from searchflow.ops import audit_log, stages
from searchflow.privacy import tombstones
from searchflow.services import forks, postgres, prefect, process, valkey
from searchflow.settings import Settings

SERVERS = (valkey.NAME, postgres.NAME)
RUNNER = "flows"
"""Runs the deployments. Told to end, it kills its flow runs with SIGKILL; so they are told first."""
PATIENCE, PATIENCE_WITH_RUNS = 20.0, 60.0
"""Seconds. A follower of the models finishes its pass, over all of them a quarter of a minute on a busy machine."""


def start(settings: Settings) -> None:
    """Start what is embedded, check what is configured, make databases and the lake's tables. Safe to call again.

    Raises:
        ServiceError, StorageError, ConfigurationError: each names what to change.
    """
    enter_home(settings)
    with process.locked(settings, "services", wait=True):
        valkey.start(settings)
        postgres.start(settings)
        warehouse.prepare(settings)
        audit_log.prepare(settings)
        stages.prepare(settings)
        tombstones.prepare(settings)
        cut.prepare(settings)


def enter_home(settings: Settings) -> None:
    """Check the servers that are configured, then make the home folder: a wrong URL leaves no traces."""
    if settings.redis_url is not None:
        valkey.check(settings)
    if settings.postgres_url is not None:
        postgres.check(settings)
    process.prepare_home(settings)


def require(settings: Settings) -> None:
    """Check that both servers answer, without starting anything."""
    valkey.check(settings)
    postgres.check(settings)


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
