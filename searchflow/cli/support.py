"""The parts that commands share: settings, servers (started or only checked), and flows that report to our Prefect server."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from searchflow import dotenv_file, lifecycle, services
from searchflow.cli.output import printable
from searchflow.errors import ServiceError
from searchflow.services import prefect, process
from searchflow.settings import Settings, load_settings

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the flows' log on standard error.")]


def settings_of_command() -> Settings:
    """Return the settings. This starts and writes nothing."""
    return load_settings()


def say(message: str) -> None:
    """Print a notice on standard error: standard output belongs to results."""
    print(f"searchflow: {printable(message)}", file=sys.stderr, flush=True)  # noqa: T201


def with_servers(settings: Settings, *, streams: bool = False) -> Settings:
    """Check that the servers run, for a command that reads.

    When they are stopped, ask on a terminal whether to start them; elsewhere the error says what to run, and nothing is
    started. With `streams` the stream server is needed too.

    Raises:
        ServiceError: a server is down, or there is no such home.
    """
    try:
        lifecycle.require(settings, streams=streams)
    except ServiceError:
        down = lifecycle.stopped(settings)
        if not (down and lifecycle.exists(settings) and sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        typer.confirm(f"{' and '.join(down)} of {settings.home} are stopped. Start them?", abort=True, err=True)
        start_servers(settings)
    return settings


def start_servers(settings: Settings, *, existing: bool = False) -> Settings:
    """Start the servers that are stopped, and say so, for a command that changes something.

    With `existing` the home must be there: in a new one there is nothing to change.

    Raises:
        ServiceError: there is no such home, or a server does not start.
    """
    if existing and not lifecycle.exists(settings):
        lifecycle.require(settings)
    _say_what_starts(settings, lifecycle.stopped(settings))
    lifecycle.start(settings)
    return settings


def _say_what_starts(settings: Settings, titles: list[str]) -> None:
    if titles:
        listed = ", ".join(titles[:-1]) + (" and " if titles[1:] else "") + titles[-1]
        say(f"starting {listed} in {settings.home}; `searchflow down` stops {'it' if len(titles) == 1 else 'them'}")


def use_prefect(settings: Settings, *, verbose: bool = False) -> None:
    """Point Prefect at our server. Call this before anything imports prefect."""
    dotenv_file.text(Path(".env"))  # Prefect reads the `.env` of the current folder, so it must be readable
    os.environ.update(prefect.client_environment(settings))
    # The full log is in Prefect; the terminal belongs to progress and results.
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "20" if verbose else "60"
    quiet_libraries(verbose=verbose)


def quiet_libraries(*, verbose: bool = False) -> None:
    """Keep the logs and warnings of libraries from the terminal."""
    if not verbose:
        # Some libraries call logging.info() on the root logger, which would give it a handler on standard error.
        logging.getLogger().addHandler(logging.NullHandler())
        warnings.filterwarnings("ignore")


def start_platform(settings: Settings, *, verbose: bool = False) -> Settings:
    """Start the servers that are not running, say which, and write `.env` so that `sqlmesh` and `prefect` find them.

    Return the settings with the ports that the servers have.
    """
    lifecycle.enter_home(settings)
    down = lifecycle.stopped(settings)
    _say_what_starts(settings, down if process.running(settings, prefect.NAME) else [*down, "Prefect"])
    lifecycle.start(settings)
    with process.locked(settings, "services", wait=True):
        settings = prefect.launch(settings, say)
    services.write_env_file(settings)
    use_prefect(settings, verbose=verbose)
    return settings


@contextmanager
def flows_of(settings: Settings, *, verbose: bool = False) -> Iterator[Settings]:
    """Run flows in this process inside the block: the servers are up, and runs show in Prefect's UI.

    Yield the settings with the ports that the servers have.
    """
    settings = start_platform(settings, verbose=verbose)
    prefect.wait(settings)
    from flows.support import without_heartbeat

    with without_heartbeat():
        yield settings


def run_flow(settings: Settings, flow: Callable[[], Any], *, verbose: bool = False) -> Any:
    """Start what is needed, run one flow, and return its result. `flow` itself imports what it needs."""
    with flows_of(settings, verbose=verbose):
        return flow()
