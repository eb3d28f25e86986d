"""The command `searchflow demo`: the whole platform once, from nothing, and a summary with places to look at."""

from __future__ import annotations

import shutil
import time
from typing import Annotated, Any

import typer

from searchflow import lifecycle, warehouse
from searchflow.cli.output import Json, console, print_json, print_table
from searchflow.cli.support import Verbose, flows_of, settings_of_command
from searchflow.errors import UsageError
from searchflow.ingestion.accounting import accounting
from searchflow.services import process
from searchflow.settings import ROOT, Settings

BUSY = (
    "Another `searchflow demo` (process {pid}) is running in this home folder; nothing was changed. Wait for it to end, "
    "or set SEARCHFLOW_HOME to another folder."
)
LAYERS = ("raw", "staging", "intermediate", "marts", "activation")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: `searchflow demo --days 420 --events 250000 --json`")(demo)


def demo(
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="Days of history [default: 400]")] = None,
    events: Annotated[int | None, typer.Option(min=1, help="Events over that history [default: 250,000]")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed; another seed makes another world [default: 42]")] = None,
    until: Annotated[str | None, typer.Option(help="History ends at this time (UTC) [default: now]")] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Run the whole platform once: start the servers, simulate history up to now, publish, ingest, model, validate,
    activate, report. A second run adds only what is new."""
    if until is not None:
        from generators.settings import parse_moment

        parse_moment("--until", until)  # a wrong value is reported before anything starts
    settings = settings_of_command()
    lifecycle.enter_home(settings)
    with process.locked(settings, "demo", wait=False, busy=BUSY):
        began = time.monotonic()
        with flows_of(settings, verbose=verbose) as settings:
            started = time.monotonic() - began
            from flows.pipeline import run_pipeline

            results = run_pipeline(generate=True, days=days, events=events, seed=seed, until=until)
            results["verify"] = verified(settings)
        summary = summarize(settings, results, started, time.monotonic() - began)
    if as_json:
        print_json(summary)
    else:
        show(summary)


def verified(settings: Settings) -> dict[str, Any]:
    """Return the outcome of `searchflow verify`, in short."""
    from searchflow import verification

    try:
        report = verification.verify(settings)
    except UsageError as error:  # a key of an older version, or one that was changed
        return {"passed": None, "checks": 0, "failed": [], "seconds": 0.0, "error": str(error)}
    failed = [check.check for check in report.checks if not check.passed]
    return {"passed": report.passed, "checks": len(report.checks), "failed": failed, "seconds": report.seconds}


def summarize(settings: Settings, results: dict[str, Any], started: float, total: float) -> dict[str, Any]:
    """Return the demo's document: what this run did, and what the platform holds now."""
    generated, ingested = results["generate"], results["ingest"]
    gates: dict[str, Any] = {}
    for stage in ("validate raw", "validate marts", "validate activation"):
        gates |= results[stage]
    from searchflow.transformation import table_rows

    with warehouse.connect(settings, read_only=True) as connection, warehouse.transaction(connection):
        rows = table_rows(connection)
        totals = accounting(connection)
    return {
        "events": {
            "generated": generated["events"],
            "published": generated["published"],
            **{name: ingested[name] for name in ("received", "stored", "duplicates", "dead_letters")},
        },
        "accounting": totals.as_dict(),
        "rows": rows,
        "syncs": {
            name: {key: sync[key] for key in ("added", "changed", "removed", "unchanged", "rejected")}
            for name, sync in results["activate"].items()
        },
        "gates": {
            suite: {key: gate[key] for key in ("outcome", "passed", "failed", "warned")}
            for suite, gate in gates.items()
        },
        "verified": results["verify"],
        "seconds": {
            "start servers": round(started, 2),
            **results["seconds"],
            "verify": results["verify"]["seconds"],
            "total": round(total, 2),
        },
        "look": where_to_look(settings),
    }


def where_to_look(settings: Settings) -> dict[str, str]:
    """Return the paths, addresses and commands with which a user continues."""
    command = "searchflow" if shutil.which("searchflow") else ".venv/bin/searchflow"
    return {
        "quality report": str(settings.reports_dir / "quality" / "index.html"),
        "Prefect": settings.prefect_api_url.removesuffix("/api"),
        "its password": f"{command} login",
        "dashboards": f"{command} dashboards",
        "SQL": f'{command} query "SELECT * FROM marts.mart_kpi_daily ORDER BY kpi_date DESC LIMIT 7"',
        "dead letters": f"{command} dlq list",
        "keep it running": f"{command} up",
        "stop": f"{command} down",
    }


def show(summary: dict[str, Any]) -> None:
    """Print the summary for people."""
    events, totals = summary["events"], summary["accounting"]
    by_layer = [
        {"layer": "generated", "rows": events["generated"], "what": "events of simulated travellers, this run"},
        {
            "layer": "published",
            "rows": events["published"],
            "what": "lines sent to the streams, repeated and broken ones too",
        },
        *(
            {
                "layer": layer,
                "rows": sum(count for table, count in summary["rows"].items() if table.startswith(f"{layer}.")),
                "what": _tables(summary["rows"], layer),
            }
            for layer in LAYERS
        ),
    ]
    print_table(
        "Events per layer", [row for row in by_layer if row["rows"] or row["layer"] in ("generated", "published")]
    )
    verdict = "holds" if totals["holds"] else "DOES NOT HOLD"
    console.print(
        f"[bold]Accounting {verdict}[/bold]: received {totals['received']:,} = stored {totals['stored']:,} "
        f"+ exact duplicates {totals['duplicates']:,} + dead letters {totals['dead_letters']:,}\n"
    )
    print_table("Activated", [{"sync": name, **counts} for name, counts in summary["syncs"].items()])
    passed = sum(gate["passed"] for gate in summary["gates"].values())
    failed = sum(gate["failed"] for gate in summary["gates"].values())
    warned = sum(gate["warned"] for gate in summary["gates"].values())
    console.print(
        f"[bold]Quality gates[/bold]: {len(summary['gates'])} suites, {passed} expectations passed, {failed} failed, "
        f"{warned} warned\n"
    )
    console.print(f"[bold]Answer key[/bold]: {_verdict(summary['verified'])}\n", highlight=False)
    print_table("Seconds per stage", [{"stage": name, "seconds": value} for name, value in summary["seconds"].items()])
    print_table("Look further", [{"what": name, "where": _short(place)} for name, place in summary["look"].items()])


def _verdict(verified: dict[str, Any]) -> str:
    if verified["passed"] is None:
        return str(verified["error"])
    if verified["passed"]:
        return f"all {verified['checks']} checks agree with what the simulator knows to be true (searchflow verify)"
    return f"{', '.join(verified['failed'])} differ from it: `searchflow verify` shows how"


def _short(place: str) -> str:
    return place.removeprefix(f"{ROOT}/")


def _tables(rows: dict[str, int], layer: str) -> str:
    named = [table.removeprefix(f"{layer}.") for table in rows if table.startswith(f"{layer}.")]
    return ", ".join(f"{name} {rows[f'{layer}.{name}']:,}" for name in named[:4]) + (" …" if len(named) > 4 else "")
