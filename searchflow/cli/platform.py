"""The commands that keep the platform running: up, down, status, dashboards, login."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.markup import escape

from searchflow import lifecycle
from searchflow import status as health
from searchflow.cli.output import Json, console, print_json, print_table
from searchflow.cli.support import say, settings_of_command, start_platform, start_servers
from searchflow.errors import SearchFlowError, ServiceError, UsageError
from searchflow.ingestion.worker import utc_now
from searchflow.ops.levels import Evaluated
from searchflow.services import ports, prefect, process, valkey
from searchflow.settings import ROOT, Settings

LIVE_RATE = 10.0
"""The events a second of simulated traffic: enough to watch, and few enough to forget about."""
DASHBOARDS = "dashboards"
DASHBOARDS_SECONDS = 60
"""The most seconds to wait for the dashboards. A busy machine needs ten to import Streamlit."""


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(epilog="Example: `searchflow up --rate 0` (no simulated traffic)")(up)
    app.command(epilog="Example: `searchflow down`")(down)
    app.command(epilog="Example: `searchflow status --json`")(status)
    app.command(epilog="Example: `searchflow dashboards --port 8600`")(dashboards)
    app.command(epilog="Example: `searchflow login`, then open the address and paste the password")(login)


def up(
    rate: Annotated[float, typer.Option(help="Simulated events a second; 0 for none.")] = LIVE_RATE,
    as_json: Json = False,
) -> None:
    """Start the servers, the Prefect server, all deployments with their schedules, the dashboards and live traffic.
    They keep running after this command ends; `searchflow down` stops them. It is safe to run this again."""
    settings = settings_of_command()
    if rate < 0:
        raise UsageError("--rate is a number of events a second, 0 or more.")
    _check_syncs()
    lifecycle.enter_home(settings)
    # When another program has a port that a person chose, this is reported before anything starts.
    for server in (prefect.NAME, DASHBOARDS):
        settings = ports.settle(settings, server, say)
    with console.status("starting servers and Prefect (the first time makes its tables)") as shown:
        settings = start_platform(settings)
        prefect.wait(settings)
        shown.update("starting deployments, dashboards and traffic")
        with process.locked(settings, "services", wait=True):
            _start_background(settings, rate)
        _wait_for_dashboards(settings)
    where = {
        "home": str(settings.home),
        "Prefect": settings.prefect_api_url.removesuffix("/api"),
        "Prefect's password": "searchflow login",
        "dashboards": f"http://127.0.0.1:{settings.dashboards_port}",
        "stream server": valkey.shown(settings),
        "logs": str(settings.logs_dir),
    }
    if as_json:
        print_json({"services": health.collect(settings, now=utc_now()).services, "where": where})
        return
    print_table("Running", [{"what": name, "where": place} for name, place in where.items()])
    typer.echo("`searchflow status` shows health, lag and freshness; `searchflow down` stops everything.")


def _check_syncs() -> None:
    """Read all sync files: each becomes a deployment, and the person who can correct a wrong file is here now."""
    import activations

    activations.load_syncs()


def _wait_for_dashboards(settings: Settings) -> None:
    """Wait until the dashboards answer, because their address is printed next.

    They import their libraries first. When that takes longer than the wait, `status` says that they are starting.
    """
    process.wait_until(
        lambda: ports.listener(settings, DASHBOARDS) == "ours",
        seconds=DASHBOARDS_SECONDS,
        alive=lambda: process.running(settings, DASHBOARDS) is not None,
        pause=0.2,
    )


def _start_background(settings: Settings, rate: float) -> None:
    from dashboards import command as dashboards_command

    environment = dict(os.environ) | {"SEARCHFLOW_HOME": str(settings.home)}
    environment.pop("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", None)
    traffic = [*(sys.executable, "-m", "searchflow.cli", "generate"), "--rate", str(rate), "--verbose"]
    commands = {
        "flows": [sys.executable, "-m", "flows.deployments"],
        "dashboards": dashboards_command(settings),
        "live-traffic": traffic,
    }
    for name in health.BACKGROUND:
        if name == "live-traffic" and not rate:
            continue
        if process.running(settings, name) is None:
            if name == DASHBOARDS:
                ports.keep(settings, name)
            process.spawn(settings, name, commands[name], env=environment, cwd=ROOT)


def down(as_json: Json = False) -> None:
    """Stop everything that `up` and `demo` started in this home. The data stays."""
    settings = settings_of_command()
    with console.status("stopping"):
        stopped = lifecycle.stop_all(settings)
    if as_json:
        print_json({"stopped": stopped})
    else:
        typer.echo(f"Stopped {', '.join(stopped)}." if stopped else "Nothing was running.")


def status(as_json: Json = False) -> int:
    """Show health, stream lag, freshness of each model, and the last runs. Exit status 1 when something is unwell."""
    settings = settings_of_command()
    now = utc_now()
    state = health.collect(settings, now=now)
    if state.services["PostgreSQL"] == "up":
        state.production = _production(settings)
    if as_json:
        print_json(state.as_dict())
        return 0 if state.healthy else 1
    console.print(f"[bold]Home[/bold]: {settings.home}", soft_wrap=True, highlight=False)
    print_table("Services", [{"service": name, "state": said} for name, said in state.services.items()])
    if state.lag:
        print_table("Streams", [{"stream": name, **lag} for name, lag in state.lag.items()])
    if state.ingestion:
        shown = [
            {"source": each["source"], "last commit": _ago(_age(each["last_commit_at"], now))}
            | {
                name: each[name]
                for name in ("events_per_second", "received", "stored", "duplicates", "dead_letters", "late")
            }
            for each in state.ingestion
        ]
        print_table("Ingested in the last hour", shown)
    if state.accounting is not None:
        console.print(
            f"[bold]Accounting[/bold]: {state.accounting.sentence()}; {state.open_dead_letters:,} dead letters open"
        )
    if state.held_events:
        console.print(f"[bold]Held back[/bold]: {state.held_events:,} events (`searchflow held list`)")
    if state.services["PostgreSQL"] == "up":
        shown = [row for row in state.freshness if row["table_name"].startswith(("marts.", "activation."))]
        print_table("Freshness", [{"table": row["table_name"], "updated": _ago(row["age_seconds"])} for row in shown])
        print_table("Last runs", [_when(run, now) for run in state.last_runs])
        print_table("Last syncs", [_when(run, now) for run in state.last_syncs])
        passed = sum(suite["failed"] == 0 for suite in state.quality)
        console.print(f"[bold]Quality[/bold]: {passed} of {len(state.quality)} suites passed at their last run")
        if passed < len(state.quality):
            print_table("Suites that did not", [suite for suite in state.quality if suite["failed"]])
    if state.production.get("sentence"):
        console.print(
            f"[bold]Production[/bold]: {escape(state.production['sentence'])}", soft_wrap=True, highlight=False
        )
    _print_levels(state.levels)
    if not state.healthy:
        typer.echo("Something is unwell: `searchflow up` starts what is down; logs are in " + str(settings.logs_dir))
    return 0 if state.healthy else 1


def _production(settings: Settings) -> dict[str, Any]:
    """Return how the model files differ from production. It takes seconds when they were saved since the last look."""
    from searchflow.transformation import drift

    try:
        found = drift.look(settings)
    except SearchFlowError as error:
        return {"sentence": str(error)}
    if found is None:
        return {}
    return {"models": found.models, "files": found.files, "problem": found.problem, "sentence": found.sentence}


def _print_levels(levels: list[Evaluated]) -> None:
    """Print each broken service level, and one line that counts the kept ones and names those without data."""
    broken = [each for each in levels if each.state == "broken"]
    if broken:
        shown = [
            {"level": each.level, "of": each.target, "is": each.shown, "should be": each.wanted, "means": each.sentence}
            for each in broken
        ]
        print_table("Service levels that are broken", shown)
    known = {each.level for each in levels if each.state != "unknown"}
    names = list(dict.fromkeys(each.level for each in levels))
    kept = known - {each.level for each in broken}
    unknown = [name for name in names if name not in known]
    more = f"; no data yet: {', '.join(unknown)}" if unknown else ""
    console.print(f"[bold]Service levels[/bold]: {len(kept)} of {len(names)} kept{more}", soft_wrap=True)


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return f"{max(0, int(seconds))} seconds ago"


def _age(moment: datetime, now: datetime) -> float:
    """Return the seconds since a moment of the warehouse, which is UTC without a zone."""
    return (now.replace(tzinfo=None) - moment).total_seconds()


def _when(run: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return a run with its start as an age, for people."""
    age = _age(run["started_at"], now)
    return {name: _ago(age) if name == "started_at" else value for name, value in run.items()}


def login(as_json: Json = False) -> None:
    """Show the address of this home's Prefect pages, and the password that they and Prefect's API ask for. Give it only to
    the people who run this home: everyone who has it can run code as this account."""
    settings = settings_of_command()
    if not lifecycle.exists(settings):
        lifecycle.require(settings)
    address, password = settings.prefect_api_url.removesuffix("/api"), prefect.auth_string(settings)
    if as_json:
        print_json({"address": address, "password": password})
        return
    typer.echo(f"Address:  {address}\nPassword: {password}")


def _dashboards_port(settings: Settings, port: int | None) -> int:
    """Return the port for serving in the foreground: the user's, else the setting's or the next free one."""
    if port is not None:
        if not ports.free(port):
            raise ServiceError(f"Port {port} is in use by another program. Choose another --port.")
        return port
    if process.running(settings, DASHBOARDS) is not None:
        raise ServiceError(
            f"The dashboards of this home already run at http://{ports.LOOPBACK}:{settings.dashboards_port}. Open that, or "
            "choose another --port."
        )
    return ports.settle(settings, DASHBOARDS, say).dashboards_port


def dashboards(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Loopback port; default: the setting's.")] = None,
) -> None:
    """Serve the dashboards in the foreground, on loopback, until Ctrl-C."""
    settings = settings_of_command()
    chosen = _dashboards_port(settings, port)
    start_servers(settings)
    from dashboards import command

    environment = dict(os.environ) | {"SEARCHFLOW_HOME": str(settings.home), "SEARCHFLOW_DASHBOARDS_PORT": str(chosen)}
    typer.echo(f"Dashboards: http://127.0.0.1:{chosen} (Ctrl-C ends)")
    arguments = command(settings.model_copy(update={"dashboards_port": chosen}))
    sys.stdout.flush()
    os.chdir(ROOT)
    os.execve(arguments[0], arguments, environment)  # noqa: S606 (this process becomes the server, so there is one to stop, not two)
