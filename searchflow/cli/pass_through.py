"""The commands `searchflow sqlmesh …` and `searchflow prefect …`: SQLMesh and Prefect on the servers of this home.

Both programs end in a traceback when a server is down. These commands check that first, and pass every word on as it is.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import typer

from searchflow.cli.support import settings_of_command, use_prefect, with_servers
from searchflow.errors import ServiceError, UsageError
from searchflow.services import prefect as prefect_server
from searchflow.settings import ROOT

WORDS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
WITHOUT_SERVERS = ("format", "lint", "test", "--version", "--help")
"""The commands of SQLMesh that read only files."""


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(context_settings=WORDS, epilog="Example: `searchflow sqlmesh plan dev`")(sqlmesh)
    app.command(context_settings=WORDS, epilog="Example: `searchflow prefect deployment run transformation/transform`")(
        prefect
    )


def sqlmesh(context: typer.Context) -> int:
    """Run a command of SQLMesh on the project and the servers of this home. The words that follow go to SQLMesh unchanged."""
    settings = settings_of_command()
    words = list(context.args) or ["--help"]
    needed = "--help" not in words and not any(word in WITHOUT_SERVERS for word in words)
    if needed:
        with_servers(settings)
    from searchflow.transformation import by_hand

    return by_hand.run(settings, words)


def prefect(context: typer.Context) -> int:
    """Run a command of Prefect on the Prefect server of this home. The words that follow go to Prefect unchanged."""
    settings = settings_of_command()
    words = list(context.args) or ["--help"]
    if "--help" not in words and words[0] not in ("--version", "version"):
        prefect_server.require(settings)
    if words[:2] == ["server", "start"]:
        raise UsageError("`searchflow up` starts the Prefect server of this home, with its settings. Use that.")
    use_prefect(settings)
    program = Path(sys.executable).with_name("prefect")
    if not program.exists():
        raise ServiceError(f"There is no {program}. Run `make install`.")
    sys.stdout.flush()
    environment: dict[str, Any] = dict(os.environ)
    environment.pop("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", None)
    os.chdir(ROOT)
    os.execve(program, [str(program), *words], environment)  # noqa: S606 (this process becomes the program)
