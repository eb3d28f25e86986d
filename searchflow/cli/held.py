"""The commands of held events: show the events that a model could not process, and let them be tried again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from searchflow import warehouse
from searchflow.cli.output import Json, print_json, print_table
from searchflow.cli.support import settings_of_command, start_servers, with_servers
from searchflow.transformation import held_events

app = typer.Typer(help="Events that a model could not process, held back from all models.", no_args_is_help=True)


@app.command("list", epilog="Example: `searchflow held list --json`")
def list_(as_json: Json = False) -> None:
    """Show the events that are held back, the model that failed on each, and its reason."""
    settings = with_servers(settings_of_command())
    with warehouse.connect(settings, read_only=True) as connection:
        rows = [asdict(each) for each in held_events.held(connection)]
    if as_json:
        print_json(rows)
    elif rows:
        print_table("Held back", rows)
    else:
        typer.echo("No event is held back.")


@app.command(epilog="Example: `searchflow held release`, then `searchflow transform`")
def release(
    event_id: Annotated[str | None, typer.Argument(help="The id of one event; default: all held events.")] = None,
    as_json: Json = False,
) -> None:
    """Let the next transformation try held events again. Events that still fail are held back again."""
    settings = start_servers(settings_of_command(), existing=True)
    with warehouse.connect(settings) as connection:
        count = held_events.ask_to_release(connection, event_id)
    if as_json:
        print_json({"released": count})
    else:
        typer.echo(f"The next transformation tries {count:,} events again: run `searchflow transform`.")
    if event_id and not count:
        raise typer.Exit(1)
