"""`searchflow generate`: simulated traffic. `searchflow replay`: traffic that was recorded in files."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from searchflow.cli.output import Json, print_json
from searchflow.cli.support import Verbose, run_flow, settings_of_command
from searchflow.errors import UsageError

DESTINATIONS = ("redis", "files", "warehouse", "stdout")
EXAMPLES = """Examples:

- `searchflow generate` (400 days up to now into the streams; again: what is new since)

- `searchflow generate --days 30 --events 100000 --seed 7` (another world, for a new home)

- `searchflow generate --rate 500 --duration 60` (live: 500 events a second for a minute)

- `searchflow generate --to files --out events --gzip --rotate 100MB`

- `searchflow generate --to files --out events --events 10000000 --processes 2` (a file each)

- `searchflow generate --set late=0.05 --set duplicates=0.01 --set click_rate=0.4` (more goes wrong)

- `searchflow generate --to stdout --days 1 | head -3`

- `searchflow replay events --to redis --shift-to now --speed 10x` (what was recorded, again)
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=EXAMPLES)(generate)


def generate(
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="Days of history [default: 400]")] = None,
    events: Annotated[int | None, typer.Option(min=1, help="Events over that history [default: 250,000]")] = None,
    rate: Annotated[float | None, typer.Option(help="Live instead: so many events a second.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds of live traffic; default: until stopped.")] = None,
    to: Annotated[str, typer.Option(help="redis, files, warehouse (through ingestion) or stdout.")] = "redis",
    out: Annotated[
        str | None, typer.Option(help="The folder for files, and for the answer key of files and stdout.")
    ] = None,
    gzip: Annotated[bool, typer.Option("--gzip", help="Compress files: *.jsonl.gz.")] = False,
    rotate: Annotated[str | None, typer.Option(help="A new file after 1h (30m, 1d), 100MB, or '50000 events'.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed, another world [default: 42]")] = None,
    world: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=NUMBER of the funnel or a fault, for a new world; faults=none: all off."),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="History by so many processes; files: one each.")] = 1,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Simulated traffic: history up to now (again: only what is new), or live events at a steady rate.

    The same seed and settings give the same events. With each run an answer key is written, for `searchflow verify`:
    into the home, and for files and stdout into the folder answer_key of --out."""
    _check(rate, duration, to, gzip or rotate is not None, processes)
    from generators import options, rotation

    options.parse(world or [])  # what is wrong is said before anything starts
    if rotate is not None:
        rotation.Rotation.parse(rotate)

    def flow() -> Any:
        from flows.generation import generate as run

        return run(
            days=days,
            events=events,
            seed=seed,
            rate=rate,
            duration=duration,
            to=to,
            out=out,
            gzip=gzip,
            rotate=rotate,
            world=world,
            processes=processes,
        )

    result = run_flow(settings_of_command(), flow, verbose=verbose)
    if to == "stdout":
        return
    if as_json:
        print_json(result)
    else:
        typer.echo(f"{result['events']:,} events sent in {result['lines']:,} lines, in {result['seconds']:.1f} s.")


def _check(rate: float | None, duration: float | None, to: str, as_files: bool, processes: int) -> None:
    if rate is not None and rate <= 0:
        raise UsageError("--rate is a number of events a second above 0.")
    if duration is not None and (rate is None or duration <= 0):
        raise UsageError("--duration goes with --rate and is a number of seconds above 0.")
    if to not in DESTINATIONS:
        raise UsageError(f"--to {to} is unknown. Choose one of {', '.join(DESTINATIONS)}.")
    if as_files and to != "files":
        raise UsageError("--gzip and --rotate go with --to files.")
    if processes > 1 and (rate is not None or to not in ("redis", "files")):
        raise UsageError("--processes goes with history for redis or files: one process keeps the order of the rest.")
