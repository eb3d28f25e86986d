"""The commands of PostgreSQL roles: `searchflow roles create` and `searchflow roles show`."""

from __future__ import annotations

import typer

from searchflow.cli.output import Json, print_json, print_table
from searchflow.cli.support import settings_of_command, start_servers, with_servers
from searchflow.privacy import roles

app = typer.Typer(help="PostgreSQL roles with the least that each part needs.", no_args_is_help=True)


@app.command(epilog="Example: `searchflow roles create`, then in psql `GRANT searchflow_ingest TO worker`")
def create(as_json: Json = False) -> None:
    """Make the roles ingest, transform, analyst, bi and activate, and give them exactly the declared privileges."""
    settings = start_servers(settings_of_command(), existing=True)
    names = roles.create(settings)
    if as_json:
        print_json({"roles": names})
    else:
        typer.echo(f"Roles {', '.join(names)}. Grant one to each account that connects; see docs/reference/roles.md.")


@app.command(epilog="Example: `searchflow roles show --json`")
def show(as_json: Json = False) -> None:
    """Show what each role may do now, as the server says."""
    settings = with_servers(settings_of_command())
    found = roles.granted(settings)
    rows = [
        {"role": role, "database": database, "table": table, "privilege": privilege}
        for role, privileges in found.items()
        for database, table, privilege in sorted(privileges)
    ]
    if as_json:
        print_json(rows)
    else:
        print_table("Privileges", rows)
