"""The commands, put together, and how errors end: one line on standard error and an exit status."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from searchflow import __version__
from searchflow.cli import (
    audit,
    bench,
    data,
    demo,
    dlq,
    email,
    explain,
    explore,
    forget,
    generate,
    incoming,
    lineage,
    metrics,
    platform,
    privacy,
    publish,
    roles,
    verify,
)
from searchflow.cli.output import printable
from searchflow.collector import collect_rarely
from searchflow.errors import SearchFlowError, StorageError, is_disk_full
from searchflow.ops import audit_log

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
explore.register(app)
lineage.register(app)
verify.register(app)
bench.register(app)
publish.register(app)
incoming.register(app)
metrics.register(app)
forget.register(app)
app.add_typer(dlq.app, name="dlq")
app.add_typer(email.app, name="email")
app.add_typer(explain.app, name="explain")
app.add_typer(audit.app, name="audit")
app.add_typer(roles.app, name="roles")
app.add_typer(privacy.app, name="privacy")


def main() -> None:
    """Run the command line; never returns."""
    collect_rarely()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit status: 0 done, 1 the answer is no, 2 the call or configuration is wrong."""
    audit_log.announce(f"searchflow {arguments[0] if arguments else ''}".strip())
    try:
        outcome = app(arguments, standalone_mode=False, prog_name="searchflow")
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
        return _say("Stopped. Nothing is lost: the same command goes on where this one ended.", 130)
    except BrokenPipeError:
        return 0
    except Exception as error:
        if is_disk_full(error):
            full = StorageError("The disk is full. Free some space and run the same command again: nothing is lost.")
            return _say(str(full), full.exit_status)
        raise
    return outcome if isinstance(outcome, int) else 0


def _say(message: str, status: int) -> int:
    line = printable(" ".join(message.split()))
    print(f"searchflow: {line}", file=sys.stderr)  # noqa: T201
    return status
