"""What commands share: settings, running servers, and flows that report to our Prefect server."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from searchflow import services
from searchflow.services import prefect
from searchflow.settings import Settings, load_settings

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the flows' log on standard error.")]


def settings_of_command() -> Settings:
    """The settings, and a home folder that can be written."""
    return load_settings()


def use_prefect(settings: Settings, *, verbose: bool = False) -> None:
    """Point Prefect at our server. Call it before anything imports prefect."""
    os.environ.update(prefect.client_environment(settings))
    # The full log is in Prefect; the terminal belongs to progress and results.
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "20" if verbose else "60"
    if not verbose:
        # Some libraries call logging.info() on the root logger, which would give it a handler on standard error.
        logging.getLogger().addHandler(logging.NullHandler())
        warnings.filterwarnings("ignore")


def start_platform(settings: Settings, *, verbose: bool = False) -> None:
    """Start servers that are not running, and write `.env` so that `sqlmesh` and `prefect` find them."""
    services.start(settings)
    services.write_env_file(settings)
    prefect.launch(settings)
    use_prefect(settings, verbose=verbose)


@contextmanager
def flows_of(settings: Settings, *, verbose: bool = False) -> Iterator[None]:
    """Run flows in this process inside the block: servers are up, and runs show in Prefect's UI."""
    start_platform(settings, verbose=verbose)
    prefect.wait(settings)
    from flows.support import without_heartbeat

    with without_heartbeat():
        yield


def run_flow(settings: Settings, flow: Callable[[], Any], *, verbose: bool = False) -> Any:
    """Start what is needed, run one flow, return its result. `flow` imports what it needs itself."""
    with flows_of(settings, verbose=verbose):
        return flow()
