"""The commands `searchflow generate` (simulated traffic) and `searchflow replay` (traffic recorded in files)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searchflow.cli.output import Json, print_json
from searchflow.cli.support import Verbose, run_flow, settings_of_command, start_servers, use_prefect
from searchflow.errors import UsageError
from searchflow.services import process

if TYPE_CHECKING:
    from generators.publishers import Publisher
    from generators.replay import Replay
    from searchflow.settings import Settings

DESTINATIONS = ("redis", "files", "warehouse", "stdout")
NEEDS_SERVERS = ("redis", "warehouse")
EXAMPLES = """Examples:

- `searchflow generate` (400 days up to now into the streams; run again, it adds what is new since)

- `searchflow generate --days 30 --events 100000 --seed 7` (another world, for a new home)

- `searchflow generate --to files --until 2026-01-31 --seed 7` (the same files on every machine)

- `searchflow generate --rate 500 --duration 60` (live: 500 events a second for a minute)

- `searchflow generate --to files --out events --gzip --rotate 100MB`

- `searchflow generate --to files --out events --events 10000000 --processes 2` (one file for each process)

- `searchflow generate --set late=0.05 --set duplicates=0.01 --set click_rate=0.4` (more goes wrong)

- `searchflow generate --to stdout --days 1 | head -3`

- `searchflow replay events --to redis --shift-to now --speed 10x` (recorded events again)
"""


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(epilog=EXAMPLES)(generate)
    app.command(epilog="Example: `searchflow replay events --to redis --shift-to now --speed 10x`")(replay)


def generate(
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="Days of history [default: 400]")] = None,
    events: Annotated[int | None, typer.Option(min=1, help="Events over that history [default: 250,000]")] = None,
    rate: Annotated[float | None, typer.Option(help="Live traffic instead of history: events a second.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds of live traffic; default: until stopped.")] = None,
    to: Annotated[str, typer.Option(help="redis, files, warehouse (through ingestion) or stdout.")] = "redis",
    out: Annotated[
        str | None, typer.Option(help="The folder for files, and for the answer key of files and stdout.")
    ] = None,
    gzip: Annotated[bool, typer.Option("--gzip", help="Compress files: *.jsonl.gz.")] = False,
    rotate: Annotated[str | None, typer.Option(help="A new file after 1h (30m, 1d), 100MB, or '50000 events'.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed; another seed makes another world [default: 42]")] = None,
    until: Annotated[
        str | None,
        typer.Option(help="History ends at this time, such as 2026-01-31 or 2026-01-31T12:00:00Z [default: now]"),
    ] = None,
    world: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="NAME=NUMBER of the funnel or a fault, for a new world; faults=none: all off; new_field=NAME:KIND:DAY.",
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that make history; with files one each.")
    ] = 1,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Simulate traffic: history up to now (a later run adds only what is new), or live events at a steady rate.

    The same seed, end and settings give the same events, and files that are equal byte for byte. Each run writes an answer
    key for `searchflow verify`: into the home, or for files and stdout into the folder answer_key of --out."""
    _check(rate, duration, to, gzip or rotate is not None, processes)
    from generators import options, rotation
    from generators.settings import parse_moment

    options.parse(world or [])  # a wrong value is reported before anything starts
    if until is not None:
        if rate is not None:
            raise UsageError("--until is the end of history, and --rate is live. Give one of them.")
        parse_moment("--until", until)
    if rotate is not None:
        rotation.Rotation.parse(rotate)

    wanted: dict[str, Any] = {
        "days": days,
        "events": events,
        "seed": seed,
        "rate": rate,
        "duration": duration,
        "to": to,
        "out": out,
        "gzip": gzip,
        "rotate": rotate,
        "world": world,
        "processes": processes,
        "until": until,
    }
    settings = settings_of_command()
    if to in NEEDS_SERVERS:
        result = run_flow(settings, lambda: _as_flow(wanted), verbose=verbose)
    else:
        result = _without_servers(settings, wanted, verbose)
    if to == "stdout":
        return
    if as_json:
        print_json(result)
    else:
        typer.echo(f"{result['events']:,} events sent in {result['lines']:,} lines, in {result['seconds']:.1f} s.")


def _as_flow(wanted: dict[str, Any]) -> Any:
    from flows.generation import generate as run

    return run(**wanted)


def _without_servers(settings: Settings, wanted: dict[str, Any], verbose: bool) -> Any:
    """Generate to files or standard output, which need no server: nothing is started, and no run is noted."""
    process.prepare_home(settings)
    use_prefect(settings, verbose=verbose)
    from flows.generation import publish

    return publish(settings, logging.getLogger("searchflow"), **wanted)


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


def replay(
    paths: Annotated[list[Path], typer.Argument(help="*.jsonl or *.jsonl.gz files, or folders of them.")],
    to: Annotated[str, typer.Option(help="redis, files, warehouse (through ingestion) or stdout.")] = "redis",
    out: Annotated[Path, typer.Option(help="The folder for --to files.")] = Path("replayed"),
    keep_times: Annotated[bool, typer.Option("--keep-times", help="Send lines as they are; the default.")] = False,
    shift_to: Annotated[
        str | None,
        typer.Option(help="now (the last event happens when it is sent), or the time of the first event."),
    ] = None,
    speed: Annotated[str, typer.Option(help="1x (as it happened), 10x (ten times as fast) or max.")] = "max",
    as_json: Json = False,
) -> None:
    """Send recorded events again, at their relative pace, with their times kept or shifted.

    A shift moves every timestamp and travel date by the same time, and gives events new ids (the same new ids when it is
    repeated). Lines that cannot be read are sent as they are."""
    import threading

    from generators import recorded
    from generators import replay as replays
    from searchflow.ingestion.worker import limits_of, utc_now

    if to not in DESTINATIONS:
        raise UsageError(f"--to {to} is unknown. Choose one of {', '.join(DESTINATIONS)}.")
    if keep_times and shift_to is not None:
        raise UsageError("--keep-times and --shift-to exclude each other.")
    factor, settings = _factor(speed), settings_of_command()
    bounds, now = limits_of(settings), utc_now()
    found = replays.Replay(paths, recorded.Limits(bounds.history_start, now + bounds.future_tolerance))
    shift = found.shift_to(shift_to, now, factor)
    if to in NEEDS_SERVERS:
        start_servers(settings)
    stop = threading.Event()
    publisher = _sink(settings, found, to, out, f"{found.digest}:{shift}", stop)
    report = replays.run(found, publisher, shift=shift, speed=factor, by_type=to == "redis", stop=stop)
    if to == "stdout":
        return
    if as_json:
        print_json(
            {"lines": report.lines, "lines_by_type": report.by_type, "shift_ms": shift, "seconds": report.seconds}
        )
    else:
        typer.echo(f"{report.lines:,} lines sent in {report.seconds:.1f} s, {report.shift} later than recorded.")


def _factor(speed: str) -> float | None:
    if speed == "max":
        return None
    try:
        factor = float(speed.removesuffix("x"))
    except ValueError:
        factor = 0.0
    if not 0 < factor < 1e9:
        raise UsageError(f"--speed {speed} is unknown. Give 1x, 10x, 0.5x or max.")
    return factor


def _sink(settings: Settings, found: Replay, to: str, out: Path, run: str, stop: Any) -> Publisher:
    import generators
    from generators.direct import WarehousePublisher
    from searchflow import streams

    if to == "redis":
        return generators.RedisPublisher(
            streams.connect(settings), capacity=settings.stream_capacity, shards=settings.stream_shards
        )
    if to == "warehouse":
        return WarehousePublisher(settings, f"replay:{run}")
    if to == "files":
        return generators.JsonlPublisher(out, f"replay_{found.digest}")
    return generators.StdoutPublisher(on_gone=stop.set)
