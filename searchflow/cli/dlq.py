"""Dead letters: list, show, replay, discard."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from typing import Annotated

import typer

from searchflow import services, warehouse
from searchflow.cli.output import Json, console, print_json, print_table, safe
from searchflow.cli.support import settings_of_command
from searchflow.ingestion import dead_letters
from searchflow.ingestion.worker import utc_now
from searchflow.settings import Settings

app = typer.Typer(help="Dead letters: what was refused, why, and the way back.", no_args_is_help=True)

Reason = Annotated[str | None, typer.Option(help="Only this reason code.")]
Kind = Annotated[str | None, typer.Option("--type", help="Only this event type.")]
Letter = Annotated[str | None, typer.Option("--id", help="Only the letter whose id begins so.")]


def _settings() -> Settings:
    settings = settings_of_command()
    services.start(settings)
    return settings


@app.command("list", epilog="Example: `searchflow dlq list --json`")
def list_letters(
    status: Annotated[str, typer.Option(help="open, replayed or discarded.")] = "open", as_json: Json = False
) -> None:
    """Group dead letters by reason, with counts, first and last seen, and an example."""
    with warehouse.connect(_settings(), read_only=True) as connection:
        found = [asdict(group) for group in dead_letters.groups(connection, status)]
    if as_json:
        print_json(found)
    else:
        print_table(f"Dead letters ({status})", found)


@app.command(epilog="Example: `searchflow dlq show 3f0c`")
def show(letter_id: Annotated[str, typer.Argument(help="The id, or its beginning.")], as_json: Json = False) -> None:
    """Show one dead letter: why it was refused, and its bytes, escaped."""
    with warehouse.connect(_settings(), read_only=True) as connection:
        letter = dead_letters.show(connection, letter_id)
    letter["raw_payload"] = dead_letters.printable(bytes(letter["raw_payload"]))
    if as_json:
        print_json(letter)
        return
    for name, value in letter.items():
        console.print(safe(f"{name:16}"), safe(value), sep=" ", soft_wrap=True)


@app.command(epilog="Example: `searchflow dlq replay --reason timestamp_in_future`")
def replay(reason: Reason = None, kind: Kind = None, letter: Letter = None, as_json: Json = False) -> None:
    """Validate open letters again and store those that pass now, each at most once."""
    result = dead_letters.replay(
        _settings(), now=utc_now(), reason=reason, event_type=kind, letter_id=letter, actor=getpass.getuser()
    )
    if as_json:
        print_json(asdict(result))
        return
    typer.echo(
        f"{result.tried} letters tried: {result.stored} stored, {result.duplicates} were duplicates by now, "
        f"{result.refused} are still refused."
    )
    if result.stored:
        typer.echo("`searchflow transform` brings them into the models.")


@app.command(epilog="Example: `searchflow dlq discard --reason invalid_json --why 'load test of 3 May'`")
def discard(
    why: Annotated[str, typer.Option(help="Kept with the letters.")],
    reason: Reason = None,
    kind: Kind = None,
    letter: Letter = None,
    as_json: Json = False,
) -> None:
    """Close open letters without storing them. Their bytes stay."""
    count = dead_letters.discard(
        _settings(), now=utc_now(), why=why, reason=reason, event_type=kind, letter_id=letter, actor=getpass.getuser()
    )
    if as_json:
        print_json({"discarded": count})
    else:
        typer.echo(f"{count} letters discarded.")
