"""The application with all commands, and the end of every error: one line on standard error and an exit status."""

from __future__ import annotations

import os
import sys
import threading
from typing import Annotated

import typer

from searchflow import __version__, actor, lifecycle
from searchflow.cli import (
    audit,
    bench,
    data,
    demo,
    deploy,
    dlq,
    email,
    explain,
    explore,
    forget,
    generate,
    held,
    incoming,
    lineage,
    metrics,
    pass_through,
    platform,
    privacy,
    publish,
    roles,
    verify,
)
from searchflow.cli.output import printable
from searchflow.errors import SearchFlowError, ServiceError, StorageError, is_disk_full
from searchflow.garbage import collect_rarely
from searchflow.passing import FROM_SERVERS
from searchflow.services import process
from searchflow.settings import Settings, load_settings

LAST_WORDS_SECONDS = 8.0
"""The time that libraries get at the end of a command that has failed and has said so."""

INTERRUPTED = 130
"""The exit status after Ctrl-C: 128 and the number of SIGINT."""

# Typer carries its own copy of click; its public BadParameter leads to the bases.
_BadCall: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="searchflow",
    help="Search analytics for travel companies: generate, ingest, model, gate, activate, show.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"searchflow {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and end.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


demo.register(app)
platform.register(app)
generate.register(app)
data.register(app)
deploy.register(app)
explore.register(app)
lineage.register(app)
verify.register(app)
bench.register(app)
publish.register(app)
incoming.register(app)
metrics.register(app)
forget.register(app)
pass_through.register(app)
app.add_typer(dlq.app, name="dlq")
app.add_typer(held.app, name="held")
app.add_typer(email.app, name="email")
app.add_typer(explain.app, name="explain")
app.add_typer(audit.app, name="audit")
app.add_typer(roles.app, name="roles")
app.add_typer(privacy.app, name="privacy")


def main() -> None:
    """Run the command line; this never returns."""
    collect_rarely()
    status = run(sys.argv[1:])
    if status:
        _end_within(LAST_WORDS_SECONDS, status)
    sys.exit(status)


def _end_within(seconds: float, status: int) -> None:
    """End this process after `seconds`, whatever still runs.

    Prefect's client hands its last logs and events to its server when a process ends. It waits without end when that server
    cannot write either, as on a full disk.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    timer = threading.Timer(seconds, os._exit, [status])
    timer.daemon = True
    timer.start()


def run(arguments: list[str]) -> int:
    """Run one command and return its exit status: 0 done, 1 the answer is no, 2 the call or configuration is wrong."""
    actor.announce(f"searchflow {arguments[0] if arguments else ''}".strip())
    try:
        outcome = app(arguments, standalone_mode=False, prog_name="searchflow")
        sys.stdout.flush()
    except SearchFlowError as error:
        return _say(str(error), error.exit_status)
    except _BadCall as error:
        context = getattr(error, "ctx", None)
        name = context.command_path if context is not None else "searchflow"
        message = error.format_message()  # type: ignore[attr-defined]
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(message)
            return 2
        return _say(f"{message.rstrip('.')}. See `{name} --help`.", 2)
    except (typer.Abort, KeyboardInterrupt):
        return _stopped()
    except BrokenPipeError:
        return _reader_gone()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # Typer has seen it first
            return _reader_gone()
        raise
    except Exception as error:
        # DuckDB raises its own error when Ctrl-C comes during a query, and names the interrupt as its cause.
        if isinstance(error.__cause__, KeyboardInterrupt):
            return _stopped()
        known = _explained(error)
        if known is None:
            raise
        return _say(str(known), known.exit_status)
    if outcome == INTERRUPTED:  # Ctrl-C came between two calls of a library, and Typer has caught it
        return _stopped()
    return outcome if isinstance(outcome, int) else 0


def _stopped() -> int:
    return _say("Stopped. Nothing is lost: the same command continues where this one ended.", INTERRUPTED)


def _reader_gone() -> int:
    """Return success when a reader such as `| head` has enough.

    What is still in the buffer must not fail again when the interpreter ends, so it goes to nothing.
    """
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
    return 0


def _explained(error: Exception) -> SearchFlowError | None:
    """Return the cause of a library's error on which a person can act: a full disk, or a server that went away.

    None means that the error is a bug.
    """
    if is_disk_full(error):
        return StorageError("The disk is full. Free some space and run the same command again: nothing is lost.")
    import httpx

    if not isinstance(error, (*FROM_SERVERS, httpx.HTTPStatusError)):
        return None
    settings = load_settings()
    try:
        lifecycle.require(settings)
    except (ServiceError, StorageError) as down:
        return down
    if isinstance(error, httpx.HTTPStatusError) and error.response.is_server_error:
        return _of_prefect(settings, error.response.status_code)
    return None


def _of_prefect(settings: Settings, status: int) -> SearchFlowError:
    """Return the error for an answer of 500: Prefect's server names no reason, not even a full disk."""
    if process.out_of_room(settings):
        return process.disk_full(settings)
    return ServiceError(
        f"The Prefect server answered {status}: its log in {settings.logs_dir} says why. Run the same command again: "
        "nothing is lost."
    )


def _say(message: str, status: int) -> int:
    line = printable(" ".join(message.split()))
    print(f"searchflow: {line}", file=sys.stderr)  # noqa: T201
    return status
