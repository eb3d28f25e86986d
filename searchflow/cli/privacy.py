"""The commands for personal data: its columns, masked views, and exports without it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from searchflow.cli.output import Json, print_json, print_table
from searchflow.cli.support import settings_of_command, start_servers, with_servers

app = typer.Typer(help="Personal data: where it is, and ways to work without it.", no_args_is_help=True)


@app.command(epilog="Example: `searchflow privacy columns --json`")
def columns(as_json: Json = False) -> None:
    """List every personal column, and the declared column that it is made from."""
    from searchflow import warehouse
    from searchflow.transformation.marks import personal_columns

    settings = with_servers(settings_of_command())
    with warehouse.connect(settings, read_only=True) as lake:
        marks = personal_columns(settings, lake)
    rows = [
        {"table": table, "column": column, "declared_as": origin}
        for table, columns_of in sorted(marks.items())
        for column, origin in columns_of.items()
    ]
    if as_json:
        print_json(rows)
    else:
        print_table("Personal columns", rows)


@app.command(epilog='Example: `searchflow privacy mask`, then `searchflow query "FROM masked.marts_dim_users"`')
def mask(as_json: Json = False) -> None:
    """Make a view without personal values of every table that holds some. Run this again after models changed."""
    from searchflow.privacy import masking

    settings = start_servers(settings_of_command(), existing=True)
    made = masking.make_views(settings)
    if as_json:
        print_json({"views": made})
    else:
        typer.echo(f"{len(made)} views: {', '.join(made)}.")


@app.command(epilog="Example: `searchflow privacy export marts.mart_user_segments --out segments.csv`")
def export(
    table: Annotated[str, typer.Argument(help="SCHEMA.TABLE")],
    out: Annotated[Path, typer.Option(help="The CSV file to write.")],
    as_json: Json = False,
) -> None:
    """Write a table as CSV: no personal column, user ids as pseudonyms, nothing that a spreadsheet would run."""
    from searchflow.privacy.export import export as write

    settings = with_servers(settings_of_command())
    rows = write(settings, table, out)
    if as_json:
        print_json({"rows": rows, "file": out})
    else:
        typer.echo(f"{rows:,} rows in {out}.")
