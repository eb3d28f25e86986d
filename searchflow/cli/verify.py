"""The command `searchflow verify`: it checks that the platform counts right."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchflow.cli.output import Json, console, print_json, print_table
from searchflow.cli.support import settings_of_command, with_servers

if TYPE_CHECKING:
    from searchflow.verification import Report

EXIT_NO = 1


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: `searchflow verify --only raw --json`")(verify)


def verify(
    key: Annotated[Path | None, typer.Option(help="The answer key's folder [default: answer_key in the home]")] = None,
    only: Annotated[
        str | None,
        typer.Option(help="key, raw, sessions, funnel, kpis, attribution, crm, outbox or recommendations."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Compare the warehouse and the destinations with what the simulator knows to be true. Exit status 1 when there is a
    difference that the answer key does not explain, 2 when there is no key."""
    from searchflow import verification
    from searchflow.verification import key as keys

    settings = settings_of_command()
    keys.find(key or settings.answer_key_dir)  # a missing key is reported before servers are checked
    with_servers(settings, streams=True)
    report = verification.verify(settings, folder=key, only=only)
    if as_json:
        print_json(report.as_dict())
    else:
        show(report)
    return 0 if report.passed else EXIT_NO


def show(report: Report) -> None:
    """Print the report for people."""
    rows = [asdict(check) | {"ok": "yes" if check.passed else "NO"} for check in report.checks]
    print_table(
        "Expected from the answer key, found in the platform",
        rows,
        columns=("check", "expected", "found", "difference", "explained", "ok", "why"),
    )
    if report.models:
        columns = ("model", "total_variation", "mean_absolute_error", "worst_channel")
        shown = [row | {name: f"{row[name]:.3f}" for name in columns[1:3]} for row in report.models]
        print_table("How far each attribution model is from what truly caused the bookings", shown, columns=columns)
    for note in report.notes:
        console.print(note, style="yellow", highlight=False)
    console.print(verdict(report), highlight=False)


def verdict(report: Report) -> str:
    """Return the verdict of a report in one line."""
    failed = [check.check for check in report.checks if not check.passed]
    if failed:
        return f"[bold red]Differs[/bold red] from the answer key in {', '.join(failed)} ({report.seconds:.1f} s)."
    return f"[bold]Agrees[/bold] with the answer key: {len(report.checks)} checks in {report.seconds:.1f} s."
