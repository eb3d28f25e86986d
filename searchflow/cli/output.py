"""The output of commands: tables for people, one JSON document for programs. Progress goes to standard error."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]

_UNSEEN = re.compile(r"[^\n\x20-\x7e]")


class _Console(Console):
    """A console that raises when its reader is gone (`| head`). Rich would end the process with status 1; `app.run` decides."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


console = _Console(width=None if sys.stdout.isatty() else 120)


def print_json(document: Any) -> None:
    """Print one JSON document on standard output, and nothing else there."""
    text = json.dumps(document, default=_plain, ensure_ascii=False, indent=2)
    typer.echo(_UNSEEN.sub(_escaped, text))  # this changes texts only, not JSON's own line ends and spaces


def _escaped(match: re.Match[str]) -> str:
    """Return a character that does not print as JSON writes it."""
    char = match.group()
    return char if char.isprintable() else json.dumps(char)[1:-1]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("ascii", errors="backslashreplace")
    if isinstance(value, Path):
        return str(value)
    return str(value)


def print_table(title: str, rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str] | None = None) -> None:
    """Print a table for people. Values are shown as text: no markup, no control characters, numbers to the right."""
    names = [
        name
        for name in columns or (rows[0] if rows else ())
        if columns or any(row.get(name) is not None for row in rows)
    ]
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", pad_edge=False)
    for name in names:
        numeric = all(isinstance(row.get(name), int | float | Decimal | None) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numeric and rows else "left", overflow="fold")
    for row in rows:
        table.add_row(*(safe(row.get(name)) for name in names))
    if not rows:
        console.print(f"[bold]{title}[/bold]: nothing")
        return
    console.print(table)


def safe(value: Any) -> Text:
    """Return a value as text that cannot change the terminal."""
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, int):
        return Text(f"{value:,}")
    if isinstance(value, float):
        return Text(f"{value:,.2f}".rstrip("0").rstrip("."))
    if isinstance(value, datetime):
        return Text(f"{value:%Y-%m-%d %H:%M:%S}")
    return Text(printable(str(value)))


def printable(text: str) -> str:
    """Return text that cannot change the terminal: control characters, also those that turn the direction, are shown."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
