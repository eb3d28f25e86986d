"""The command `searchflow bench`: figures of this installation, each beside a limit measured in the same run."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from searchflow.cli.output import Json, console, print_json, print_table

if TYPE_CHECKING:
    from benchmarks.report import Figure, Report

EXIT_NO = 1


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: `searchflow bench generate publish --size 0.1`")(bench)


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="The benchmarks to run; default: all.")
    ] = None,
    size: Annotated[
        float, typer.Option(min=0.001, max=100.0, help="The share of the full measurement, which is 1.0.")
    ] = 1.0,
    show: Annotated[bool, typer.Option("--list", help="List the benchmarks and measure nothing.")] = False,
    peer: Annotated[bool, typer.Option(help="Compare with other tools, installed in a temporary environment.")] = False,
    as_json: Json = False,
) -> int:
    """Measure the speed of this installation, as a ratio to a limit measured in the same run. The command starts servers in
    a temporary folder and stops them again; it does not touch the home. Exit status 1 when a figure misses its target."""
    from benchmarks import registry

    chosen = {name: registry.load(name) for name in names or registry.names()}
    if show:
        _list({name: registry.title(benchmark) for name, benchmark in chosen.items()}, as_json)
        return 0
    reports = [_measure(name, benchmark, size, peer) for name, benchmark in chosen.items()]
    if as_json:
        print_json([{**msgspec.to_builtins(report), "ratios": _ratios(report)} for report in reports])
    else:
        for report in reports:
            _print(report)
    return EXIT_NO if any(report.missed for report in reports) else 0


def _list(titles: dict[str, str], as_json: bool) -> None:
    rows = [{"name": name, "measures": title} for name, title in titles.items()]
    if as_json:
        print_json(rows)
    else:
        print_table("Benchmarks", rows)


def _measure(name: str, benchmark: Any, size: float, peer: bool) -> Report:
    from benchmarks.report import Options

    def say(message: str) -> None:
        if sys.stderr.isatty():
            typer.echo(f"{name}: {message}", err=True)

    with tempfile.TemporaryDirectory(prefix="searchflow-bench-") as folder:
        report: Report = benchmark.run(Options(workspace=Path(folder), size=size, peer=peer, progress=say))
    return report


def _ratios(report: Report) -> dict[str, float]:
    return {figure.name: figure.ratio for figure in report.figures if figure.ratio is not None}


def _print(report: Report) -> None:
    print_table(report.title, [_row(figure) for figure in report.figures])
    if report.facts:
        console.print(
            ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in report.facts.items()), markup=False
        )
    console.print()


def _row(figure: Figure) -> dict[str, Any]:
    return {
        "figure": figure.name,
        "value": _short(figure.value),
        "unit": figure.unit,
        "limit": None if figure.limit is None else _short(figure.limit),
        "limit_is": figure.limit_name or None,
        "ratio": None if figure.ratio is None else round(figure.ratio, 3),
        "target": figure.target or None,
        "met": figure.met,
    }


def _short(value: float) -> float | int:
    """Round a figure for people. From a hundred on it is whole: more digits would claim a precision that no run has."""
    return round(value) if abs(value) >= 100 else round(value, 3)
