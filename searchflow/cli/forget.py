"""The command `searchflow forget`: it erases a person and prints a certificate."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from searchflow.cli.output import Json, console, print_json, print_table
from searchflow.cli.support import settings_of_command, start_servers, with_servers
from searchflow.progress import Bar, progress

STEPS = 15


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: `searchflow forget traveller-000042 --dry-run`")(forget)


def forget(
    user_id: Annotated[str, typer.Argument(help="The user, exactly as events name them.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be erased; remove nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before erasing.")] = False,
    as_json: Json = False,
) -> None:
    """Erase a person everywhere, for good, and print a certificate. This ends the lake's time travel to before today."""
    from generators.erasure import AnswerKeys
    from searchflow import erasure
    from searchflow.ingestion.worker import utc_now

    settings = settings_of_command()
    if dry_run:
        with_servers(settings, streams=True)
    else:
        start_servers(settings, existing=True)
    if dry_run:
        found = [
            {"place": each.place, "what": each.what, "count": each.count}
            for each in erasure.look(settings, user_id, clock=utc_now, more=[AnswerKeys()])
        ]
        if as_json:
            print_json({"would_erase": found})
        else:
            print_table("Would be erased", found)
        return
    if not yes and sys.stdin.isatty():
        typer.confirm(
            "This erases everything about this user for good, and every older snapshot. Continue?", abort=True
        )
    with progress("forgetting", total=STEPS) as bar:
        certificate = erasure.forget(
            settings, user_id, clock=utc_now, more=[AnswerKeys()], on_step=lambda step: _tell(bar, step)
        )
    if as_json:
        print_json(certificate)
    else:
        _show(certificate, f"{settings.reports_dir / 'erasures' / certificate['erasure_id']}.json")


def _tell(bar: Bar, step: str) -> None:
    bar.update(label=step)
    bar.advance()


def _show(certificate: dict[str, Any], path: str) -> None:
    print_table("Erased", certificate["found"])
    done = [{"besides": name, "count": count} for name, count in certificate["done"].items()]
    if done:
        print_table("Done besides", done)
    for sentence in certificate["left_to_others"]:
        console.print(f"Left to others: {sentence}.", markup=False)
    console.print(
        f"Begun {certificate['began_at'][:19]}, complete {certificate['completed_at'][:19]} UTC; a last search everywhere "
        f"found nothing.\nCertificate {path}\nSHA-256 {certificate['sha256']}",
        markup=False,
        soft_wrap=True,
    )
