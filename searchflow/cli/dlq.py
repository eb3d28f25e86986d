"""The commands of dead letters: `searchflow dlq` with list, show, replay, discard and fixes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from searchflow import actor, warehouse
from searchflow.cli.output import Json, console, print_json, print_table, safe
from searchflow.cli.support import flows_of, settings_of_command, start_servers, with_servers
from searchflow.errors import UsageError
from searchflow.ingestion.dead_letters import closing, fixes, letters
from searchflow.ingestion.dead_letters import replay as replaying
from searchflow.ingestion.worker import utc_now
from searchflow.ops import audit_log, stages
from searchflow.settings import Settings
from searchflow.transformation import differences

app = typer.Typer(help="Dead letters: what was refused, why, and the way back.", no_args_is_help=True)

Reason = Annotated[str | None, typer.Option(help="Only this reason code.")]
Kind = Annotated[str | None, typer.Option("--type", help="Only this event type.")]
Source = Annotated[str | None, typer.Option(help="Only from sources whose name begins so, such as `file:`.")]
Since = Annotated[datetime | None, typer.Option(help="Only those received since this time (UTC).")]
Until = Annotated[datetime | None, typer.Option(help="Only those received before this time (UTC).")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="Only dead letters whose id begins so; can be repeated.")]


def _settings() -> Settings:
    return with_servers(settings_of_command())


def _started() -> Settings:
    return start_servers(settings_of_command(), existing=True)


@app.command("list", epilog="Example: `searchflow dlq list --since 2026-05-01`")
def list_letters(
    status: Annotated[str, typer.Option(help="open, replayed or discarded.")] = "open",
    reason: Reason = None,
    kind: Kind = None,
    source: Source = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Group dead letters by reason, with counts, first and last seen, and an example."""
    selection = letters.Selection(status, reason, kind, source, since, until)
    with warehouse.connect(_settings(), read_only=True) as connection:
        found = [asdict(group) for group in letters.groups(connection, selection)]
    if as_json:
        print_json(found)
    else:
        print_table(f"Dead letters ({status})", [{**row, "example_id": row["example_id"][:8]} for row in found])


@app.command(epilog="Example: `searchflow dlq show 3f0c`")
def show(letter_id: Annotated[str, typer.Argument(help="The id, or its beginning.")], as_json: Json = False) -> None:
    """Show one dead letter: why it was refused, and its bytes, escaped."""
    settings = _settings()
    with warehouse.connect(settings, read_only=True) as connection:
        letter = letters.show(connection, letter_id)
    audit_log.append(settings, "read", "raw.dead_letters", rows=1, detail=f"dead letter {letter['dead_letter_id']}")
    letter["raw_payload"] = letters.printable(bytes(letter["raw_payload"]))
    if as_json:
        print_json(letter)
        return
    for name, value in letter.items():
        console.print(safe(f"{name:16}"), safe(value), sep=" ", soft_wrap=True)


@app.command("fixes", epilog="Example: `searchflow dlq fixes`")
def list_fixes(as_json: Json = False) -> None:
    """List the fixes that a replay can apply: those that come with SearchFlow, and your own in `dead_letter_fixes/`."""
    found = [fix.describe() for fix in fixes.available().values()]
    if as_json:
        print_json(found)
    else:
        print_table("Fixes", found)


@app.command(
    epilog="Example: `searchflow dlq replay --reason missing_field --fix rename_field --param field=term "
    "--param to=query --dry-run`"
)
def replay(
    reason: Reason = None,
    kind: Kind = None,
    source: Source = None,
    since: Since = None,
    until: Until = None,
    letter: Ids = None,
    fix: Annotated[
        str | None, typer.Option(help="Repair each dead letter first with this fix from `searchflow dlq fixes`.")
    ] = None,
    param: Annotated[list[str] | None, typer.Option(help="A parameter of the fix, as name=value.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would happen, and write nothing.")] = False,
    transform: Annotated[
        bool, typer.Option("--transform/--no-transform", help="Bring the stored events into the models at once.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Validate open dead letters again and store those that pass now, each at most once; then show which marts changed."""
    selection = letters.Selection("open", reason, kind, source, since, until, tuple(letter or ()))
    chosen = _fix(fix, param or [])
    if dry_run:
        _dry_run(_settings(), selection, chosen, as_json)
        return
    settings = _started()
    with _marts_watched(settings, transform) as watch:
        with _noted(settings, "replay") as stage:
            result = replaying.replay(settings, selection, clock=utc_now, actor=actor.user(), fix=chosen)
            stage.rows_in, stage.rows_out, stage.rejected = result.tried, result.stored, result.refused.total()
        changes = watch(result.batches)
    if as_json:
        print_json({**_document(result), "marts": None if changes is None else asdict(changes)})
        return
    _print_result(result)
    if changes is not None:
        _print_changes(changes)
    elif result.stored:
        typer.echo("`searchflow transform` brings them into the models.")


@app.command(epilog="Example: `searchflow dlq discard --reason invalid_json --why 'load test of 3 May'`")
def discard(
    why: Annotated[str, typer.Option(help="The reason, kept with the dead letters and in the audit log.")],
    reason: Reason = None,
    kind: Kind = None,
    source: Source = None,
    since: Since = None,
    until: Until = None,
    letter: Ids = None,
    every: Annotated[bool, typer.Option("--all", help="Discard every open dead letter.")] = False,
    as_json: Json = False,
) -> None:
    """Close open dead letters without storing them. Their bytes stay."""
    selection = letters.Selection("open", reason, kind, source, since, until, tuple(letter or ()))
    if selection.everything != every:
        raise UsageError("Choose dead letters (--reason, --type, --source, --since, --until, --id), or give --all.")
    settings = _started()
    with _noted(settings, "discard") as stage:
        count = closing.discard(settings, selection, why=why, clock=utc_now, actor=actor.user())
        stage.rows_in = stage.rows_out = count
    if as_json:
        print_json({"discarded": count})
    else:
        typer.echo(f"{count:,} dead letters discarded.")


def _noted(settings: Settings, name: str) -> AbstractContextManager[stages.Stage]:
    """Note the block as a run in `ops.stage_runs`, as flows do."""
    return stages.noted(settings, name, str(uuid.uuid4()), clock=utc_now)


def _fix(name: str | None, params: list[str]) -> fixes.Fix | None:
    texts = dict(text.partition("=")[::2] for text in params)
    if name is None and texts:
        raise UsageError("--param goes with --fix. `searchflow dlq fixes` lists the fixes.")
    return None if name is None else fixes.load(name, texts)


def _dry_run(settings: Settings, selection: letters.Selection, fix: fixes.Fix | None, as_json: bool) -> None:
    result, examples = replaying.dry_run(settings, selection, clock=utc_now, fix=fix)
    shown = [
        {**asdict(each), "before": letters.printable(each.before), "after": letters.printable(each.after)}
        for each in examples
    ]
    if as_json:
        print_json({**_document(result), "examples": shown})
        return
    for each in shown:
        console.print(safe(f"{each['letter_id'][:8]}  {each['verdict']}"), soft_wrap=True)
        console.print(safe(f"  before  {each['before']}"), soft_wrap=True)
        after = each["after"] if each["after"] != each["before"] else "(unchanged)"
        console.print(safe(f"  after   {after}"), soft_wrap=True)
    _print_result(result, would=True)


def _document(result: replaying.ReplayResult) -> dict[str, Any]:
    return {**asdict(result), "refused": dict(result.refused), "days": sorted(result.days)}


def _print_result(result: replaying.ReplayResult, *, would: bool = False) -> None:
    verb = "would be stored" if would else "stored"
    taken = f", {result.taken:,} closed meanwhile by another process" if result.taken else ""
    typer.echo(
        f"{result.tried:,} dead letters tried: {result.stored:,} {verb}, {result.duplicates:,} duplicates of stored events, "
        f"{result.refused.total():,} still refused{taken}."
    )
    if result.refused:
        typer.echo("Still refused: " + ", ".join(f"{code} {count:,}" for code, count in result.refused.most_common()))
    if result.refused["too_large"]:
        typer.echo(f"Of those that are too_large, {replaying.ONLY_A_HEAD}.")
    if result.days:
        days = sorted(result.days)
        typer.echo(
            f"Days changed: {len(days)} ({days[0]} to {days[-1]})" if len(days) > 1 else f"Day changed: {days[0]}"
        )


@contextmanager
def _marts_watched(settings: Settings, transform: bool) -> Iterator[Any]:
    """Yield a function that runs the transformation and returns what changed since the block began."""
    if not transform:
        yield lambda batches: None
        return
    with warehouse.connect(settings, read_only=True) as connection:
        before = differences.marts(connection)

    def changes(batches: list[str]) -> differences.Changes | None:
        if not batches:
            return None
        with flows_of(settings):
            from flows.transformation import transform as run

            run()
        with warehouse.connect(settings, read_only=True) as connection:
            return differences.since(connection, before, batches)

    yield changes


def _print_changes(changes: differences.Changes) -> None:
    print_table("Marts changed", [asdict(mart) for mart in changes.marts])
    rows = [{"day": day.day, **{name: day.shown(name) for name in differences.KPIS}} for day in changes.days]
    print_table("marts.mart_kpi_daily, old -> new", rows)
    if changes.other_batches:
        typer.echo(
            f"The transformation also brought in {changes.other_batches} other commit(s): their changes are included."
        )
    for name in changes.not_compared:
        typer.echo(f"{name} was not compared: its model's definition changed.")
