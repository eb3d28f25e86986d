"""The commands that move data: ingest, transform, validate, activate, reconcile."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from searchflow.cli.output import Json, print_json, print_table
from searchflow.cli.support import Verbose, run_flow, say, settings_of_command, with_servers
from searchflow.errors import UsageError
from searchflow.settings import Settings
from searchflow.streams import EVENT_TYPES

EXIT_NO = 1
TEN_YEARS = 10 * 365 * 86400.0


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(epilog="Example: `searchflow ingest --from ./events --json`")(ingest)
    app.command(epilog="Example: `searchflow transform --env dev`")(transform)
    app.command(epilog="Example: `searchflow validate marts`")(validate)
    app.command(epilog="Example: `searchflow activate crm_user_segments --dry-run`")(activate)
    app.command(epilog="Example: `searchflow reconcile recommendations --repair`")(reconcile)


def ingest(
    source: Annotated[str, typer.Option("--from", help="`redis`, a *.jsonl file, or a folder of them.")] = "redis",
    follow: Annotated[bool, typer.Option("--follow", help="Continue until stopped.")] = False,
    shard: Annotated[int | None, typer.Option(min=0, help="Only this shard of each stream; default: all.")] = None,
    accept_gap: Annotated[
        str | None,
        typer.Option(help="Continue after entries of this event type that were removed before we read them."),
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Ingest events into raw, exactly once: from the streams, or from files (with ad spend and user profiles beside
    them). Without `--follow` it ends when the source is drained. Exit status 1 when a file could not be read to its end."""
    settings = settings_of_command()
    if accept_gap is not None:
        _accept_gap(accept_gap, as_json)
        return 0
    if shard is not None and (source != "redis" or shard >= settings.stream_shards):
        raise UsageError(f"--shard is a shard of the streams, 0 to {settings.stream_shards - 1} here.")
    if source != "redis":
        _check_path(Path(source), follow)

    def flow() -> Any:
        from flows.ingestion import ingest as run

        return run(source=source, follow_seconds=TEN_YEARS if follow else 0.0, shard=shard)

    from searchflow.ingestion.worker import utc_now

    began = utc_now()
    result = run_flow(settings, flow, verbose=verbose)
    for broken in result["files_broken"]:
        say(broken)
    failed = EXIT_NO if result["files_broken"] else 0
    reasons = _reasons(settings, began) if result["dead_letters"] else []
    if as_json:
        print_json({**result, "dead_letter_reasons": reasons})
        return failed
    counts = {name: result[name] for name in ("received", "stored", "duplicates", "dead_letters", "late")}
    print_table(
        "Ingested", [{**counts, "commits": result["commits"], "events_per_second": result["events_per_second"]}]
    )
    if result["files_known"]:
        typer.echo(f"{result['files_known']} file(s) had been loaded before and hold nothing new.")
    if reasons:
        print_table("Refused most often", reasons, columns=("letters", "event_type", "reason", "mend"))
        typer.echo("`searchflow dlq list` shows all reasons, `searchflow dlq show ID` one dead letter.")
    return failed


def _reasons(settings: Settings, since: datetime) -> list[dict[str, Any]]:
    """Return the reasons why events were refused since a moment, the most frequent first."""
    from searchflow import warehouse
    from searchflow.ingestion.dead_letters import remedies

    with warehouse.connect(settings, read_only=True) as connection:
        return remedies.most_frequent(connection, since)


def _check_path(path: Path, follow: bool) -> None:
    from searchflow.ingestion.feeds import feed_files
    from searchflow.ingestion.file_source import event_files

    feeds = feed_files(path)
    events = [] if path.is_file() and feeds else event_files(path)
    if not events and not feeds and not follow:
        raise UsageError(f"There are no event files in {path}. Put *.jsonl or *.jsonl.gz files there.")


def _accept_gap(event_type: str, as_json: bool) -> None:
    from searchflow.errors import NotFoundError
    from searchflow.ingestion import worker

    if event_type not in EVENT_TYPES:
        raise NotFoundError("event type", event_type, EVENT_TYPES)
    settings = settings_of_command()
    with_servers(settings, streams=True)
    lost = worker.accept_gap(settings, event_type)
    if as_json:
        print_json({"event_type": event_type, "entries_lost": lost})
    else:
        typer.echo(f"{lost:,} entries of {event_type} events are given up; `searchflow ingest` continues after them.")


def transform(
    env: Annotated[str, typer.Option("--env", help="`prod`, or the name of a virtual environment.")] = "prod",
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Start no other model once one has failed.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Continue until stopped: searches are there within seconds.")
    ] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Bring production's models up to date, as `searchflow deploy` promoted them; the first time, promote the files.
    With another name than `prod` as `--env`, build the files beside production. A model that fails stops only the models
    that are made from it. `sqlmesh plan dev` in the repository root works too."""

    def flow() -> Any:
        from flows.transformation import transform as run

        return run(environment=env, fail_fast=fail_fast, follow_seconds=TEN_YEARS if follow else 0.0)

    settings = settings_of_command()
    result = run_flow(settings, flow, verbose=verbose)
    if env == "prod":
        _tell_drift(settings)
    if as_json:
        print_json(result)
    else:
        if follow and not result["passes"]:
            typer.echo("No pass: another process already follows. `searchflow status` shows how fresh the models are.")
            return
        if follow:
            typer.echo(f"{result['passes']} passes, {result['failed_passes']} of them failed.")
            return
        restated = f", restated {len(result['restated_days'])} earlier days" if result["restated_days"] else ""
        typer.echo(f"{result['models']} models up to date in {result['seconds']} s ({result['mode']}{restated}).")


def _tell_drift(settings: Settings) -> None:
    """Tell the user when the files differ from production: a transformation does not promote them."""
    from searchflow.transformation import drift

    found = drift.look(settings)
    if found is not None and found.sentence:
        typer.echo(found.sentence, err=True)


def validate(
    selection: Annotated[str, typer.Argument(help="`raw`, `marts`, `activation`, one suite, or `all`.")] = "all",
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Run data-quality suites and build their report. Exit status 1 when one fails."""
    settings = settings_of_command()
    from expectations import load_suites

    load_suites(selection)  # an unknown name is reported before anything starts

    def flow() -> Any:
        from flows.validation import check as run

        return run(selection)

    outcomes = run_flow(settings, flow, verbose=verbose)
    if as_json:
        print_json(outcomes)
    else:
        print_table("Quality", [{"suite": name, **outcome} for name, outcome in outcomes.items()])
        typer.echo(f"Report: {settings.reports_dir / 'quality' / 'index.html'}")
    closed = any(outcome["outcome"] in ("fail", "error") for outcome in outcomes.values())
    return EXIT_NO if closed else 0


def activate(
    syncs: Annotated[list[str] | None, typer.Argument(help="Names of syncs; default: all.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")] = False,
    approve: Annotated[bool, typer.Option("--approve", help="Allow a change that is above its limits.")] = False,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Try rejected rows again, also those that have not changed since.")
    ] = False,
    undo: Annotated[
        str | None,
        typer.Option("--undo", metavar="RUN", help="Restore what this run of one sync changed, and hold the sync."),
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Send what changed to the destinations, each sync behind its quality gate."""
    settings = settings_of_command()
    import activations

    names = [activations.load_sync(name).name for name in syncs or []]
    if undo is not None:
        _undo(settings, names, undo, as_json, verbose)
        return

    def flow() -> Any:
        from flows.activation import activate as run

        return run(syncs=names or None, dry_run=dry_run, approve=approve, retry_rejected=retry_rejected)

    results = run_flow(settings, flow, verbose=verbose)
    if as_json:
        print_json(results)
        return
    _show_counts(list(results.values()), dry_run=dry_run)
    if dry_run:
        _show_rows(list(results.values()))
        _show_hurdles(list(results.values()))


def _show_counts(results: list[dict[str, Any]], *, dry_run: bool) -> None:
    columns = ["sync", "would" if dry_run else "status", "added", "changed", "removed", "unchanged", "rejected"]
    columns += [name for name in ("quarantined", "held_out") if any(result[name] for result in results)]
    rows = [result | {"would": _would(result)} for result in results] if dry_run else results
    print_table("Would send" if dry_run else "Sent", rows, columns=columns)


def _would(result: dict[str, Any]) -> str:
    """Return in a word what a run would do."""
    if result["blocked"]:
        return "stop"
    return "send" if any(result[kind] for kind in ("added", "changed", "removed", "refreshed")) else "do nothing"


def _show_rows(results: list[dict[str, Any]]) -> None:
    """Print some rows of each kind for each sync, with old and new values."""
    for result in results:
        rows = [{"": sample["kind"], "key": sample["key"], "row": _difference(sample)} for sample in result["samples"]]
        if rows:
            print_table(f"{result['sync']}: the first rows of each kind", rows, columns=("", "key", "row"))


def _show_hurdles(results: list[dict[str, Any]]) -> None:
    """Print what would stop or delay each sync before it sends anything."""
    rows = [{"sync": result["sync"], "": "would stop", "why": why} for result in results for why in result["blocked"]]
    rows += [
        {"sync": result["sync"], "": "looks first", "why": f"{suite} has not looked at the data that would be sent"}
        for result in results
        for suite in result["stale"]
    ]
    if rows:
        print_table("Before anything is sent", sorted(rows, key=lambda row: row["sync"]), columns=("sync", "", "why"))


def _difference(sample: dict[str, Any]) -> str:
    """Describe what changes in a row: its changed values, old -> new.

    Of a row that is added or removed it gives all values but the key; without the old values, it gives the new ones.
    """
    before, after = sample["before"], sample["after"]
    if before is None or after is None:
        row = {name: value for name, value in (after or before or {}).items() if value != sample["key"]}
        return ", ".join(f"{name}: {value}" for name, value in row.items() if value is not None)
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return ", ".join(f"{name}: {_value(before.get(name))} -> {_value(after.get(name))}" for name in changed)


def _value(value: object) -> object:
    return "nothing" if value is None else value


def _undo(settings: Any, names: list[str], undone: str, as_json: bool, verbose: bool) -> None:
    if len(names) != 1:
        raise UsageError("--undo goes with the name of one sync: `searchflow activate SYNC --undo RUN`.")

    def flow() -> Any:
        from flows.activation import undo as run

        return run(names[0], undone)

    result = run_flow(settings, flow, verbose=verbose)
    if as_json:
        print_json(result)
    else:
        print_table(
            "Undone", [result], columns=("sync", "undone", "restored", "removed", "left", "overtaken", "rejected")
        )
        typer.echo(f"{names[0]} is on hold: `searchflow activate {names[0]} --approve` lets it send again.")


def reconcile(
    syncs: Annotated[list[str] | None, typer.Argument(help="Names of syncs; default: all.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Write lost and different rows again.")] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Compare destinations with what they should hold. Exit status 1 when they differ."""
    settings = settings_of_command()
    import activations

    names = [activations.load_sync(name).name for name in syncs or []]

    def flow() -> Any:
        from flows.reconciliation import reconcile as run

        return run(syncs=names or None, repair=repair)

    results = run_flow(settings, flow, verbose=verbose)
    if as_json:
        print_json(results)
    else:
        columns = ("sync", "expected", "found", "lost_writes", "foreign_edits", "foreign_deletes", "foreign_rows")
        print_table("Destinations against what was sent", list(results.values()), columns=(*columns, "repaired"))
    drift = sum(int(result[key]) for result in results.values() for key in ("missing", "different", "unexpected"))
    repaired = sum(int(result["repaired"]) for result in results.values())
    return EXIT_NO if drift > repaired else 0
