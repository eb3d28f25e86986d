"""The command `searchflow publish`: the marts in PostgreSQL, for Metabase, Superset, Tableau and other clients."""

from __future__ import annotations

from typing import Annotated

import typer

from searchflow.cli.output import Json, print_json, print_table
from searchflow.cli.support import settings_of_command, start_servers
from searchflow.ingestion.worker import utc_now

EXIT_NO = 1


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: `searchflow publish`, then in psql `GRANT searchflow_bi TO metabase`")(publish)


def publish(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="MART", help="The marts to publish; default: all.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Compare all rows, also of marts that no run has made since the last time.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Write the marts into the schema `marts` of a PostgreSQL database (SEARCHFLOW_PUBLISH_URL, else one on the
    platform's own server): only what changed, each table at once, after its quality gate, without personal columns.
    Exit status 1 when a table was held back."""
    settings = start_servers(settings_of_command(), existing=True)
    from searchflow.publishing import publish as run
    from searchflow.publishing import target

    done = run(settings, names or (), full=full, clock=utc_now)
    held = [each for each in done if each.outcome == "held back"]
    if as_json:
        print_json({"role": target.role(settings), "schema": target.SHOWN, "tables": [each.as_dict() for each in done]})
        return EXIT_NO if held else 0
    print_table(
        "Published", [each.as_dict() | {"seconds": round(each.seconds, 2), "why": each.why or None} for each in done]
    )
    typer.echo(
        f"Read them as schema `{target.SHOWN}` of "
        f"{'SEARCHFLOW_PUBLISH_URL' if settings.publish_url else f'database {settings.postgres_prefix}{target.DATABASE}'}; "
        f"grant the role {target.role(settings)} to the account of your BI tool."
    )
    return EXIT_NO if held else 0
