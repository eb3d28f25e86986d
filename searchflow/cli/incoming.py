"""The commands `searchflow schema` (what producers changed) and `searchflow lateness` (how late events arrive)."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from searchflow import warehouse
from searchflow.cli.output import Json, print_json, print_table
from searchflow.cli.support import settings_of_command, with_servers
from searchflow.errors import UsageError
from searchflow.ingestion import lateness as arrivals

CHANGES = """
SELECT event_type, field, kind, json_type, previous_types, first_seen_at, example, event_id, source
FROM ops.schema_changes ORDER BY first_seen_at DESC, event_type, field
"""


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(epilog="Example: `searchflow schema --json`")(schema)
    app.command(epilog="Example: `searchflow lateness --by source`")(lateness)


def schema(as_json: Json = False) -> None:
    """List fields of events that the contract does not name, and fields whose type changed: since when, with the shape of a
    value (letters as a, digits as 9)."""
    settings = with_servers(settings_of_command())
    with warehouse.connect(settings, read_only=True) as connection:
        cursor = connection.execute(CHANGES)
        names = [column[0] for column in cursor.description or []]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    _show("Schema changes", rows, as_json, "No event has had a field that the contract does not name.")


def lateness(
    by: Annotated[str | None, typer.Option(help="Show one row for each event_type or source.")] = None,
    as_json: Json = False,
) -> None:
    """Show the share of live events that arrived within 1 minute, 5 minutes, 1, 6 and 24 hours, and 3 and 7 days after
    they happened."""
    if by not in (None, "event_type", "source"):
        raise UsageError(f"--by {by} is unknown. Choose event_type or source.")
    settings = with_servers(settings_of_command())
    with warehouse.connect(settings, read_only=True) as connection:
        rows = arrivals.curve(connection, by=by)
    _show("Lateness of live events", rows, as_json, "No live events yet: a loaded history says nothing about lateness.")


def _show(title: str, rows: list[dict[str, Any]], as_json: bool, nothing: str) -> None:
    if as_json:
        print_json(rows)
    elif rows:
        print_table(title, rows)
    else:
        typer.echo(nothing)
