"""The commands of the audit log: `searchflow audit show` and `searchflow audit verify`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from searchflow.cli.output import Json, print_json, print_table
from searchflow.cli.support import settings_of_command, with_servers
from searchflow.clock import server_now
from searchflow.errors import UsageError
from searchflow.ops import audit_log

app = typer.Typer(
    help="The audit log: who read or changed what, and proof that no one edited it.", no_args_is_help=True
)


@app.command(epilog="Example: `searchflow audit show --object raw. --action write --hours 24`")
def show(
    actor: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    process: Annotated[str | None, typer.Option(help="Only this command or flow.")] = None,
    run: Annotated[str | None, typer.Option(help="Only this flow run.")] = None,
    action: Annotated[str | None, typer.Option(help="run, read, write, define, maintain, send, ...")] = None,
    object: Annotated[str | None, typer.Option(help="Only this table or destination, or names that begin so.")] = None,  # noqa: A002
    hours: Annotated[float | None, typer.Option(min=0, help="Only entries of the last hours.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only entries since this time (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only entries before this time (UTC).")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most entries to show.")] = 50,
    as_json: Json = False,
) -> None:
    """Show the newest entries, the newest first."""
    settings = with_servers(settings_of_command())
    if hours is not None and since is not None:
        raise UsageError("Give --hours or --since, not both.")
    begin = server_now() - timedelta(hours=hours) if hours is not None else _utc(since)
    entries = audit_log.show(
        settings,
        limit=limit,
        since=begin,
        until=_utc(until),
        actor=actor,
        process=process,
        run_id=run,
        action=action,
        object=object,
    )
    if as_json:
        print_json(entries)
    else:
        print_table("Audit log", entries)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


@app.command(epilog="Example: `searchflow audit verify`")
def verify(as_json: Json = False) -> None:
    """Recompute every hash of the log and compare it with its anchors. Exit status 1 when anything was edited."""
    settings = with_servers(settings_of_command())
    found = audit_log.verify(settings)
    if as_json:
        print_json(asdict(found))
    else:
        typer.echo(
            f"{found.entries:,} entries, each as it was written; {found.anchors} anchors outside the database agree."
        )
