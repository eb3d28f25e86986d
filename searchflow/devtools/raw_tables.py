"""The part of `external_models.yaml` that is made from the declared event types: one raw table a type.

`make docs` writes it, between two comments. SQLMesh reads the columns of raw tables there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from searchflow import event_types
from searchflow.devtools.markdown import Piece
from searchflow.event_types import EventType
from searchflow.tables import event_columns

PLACE = Path("external_models.yaml")
BEGIN, END = "# made:event-types (by `make docs`, from searchflow/event_types/)", "# made:end"


def block(root: Path) -> list[str]:
    """The lines between the comments."""
    return [line for each in declared(root).values() for line in _table(each)]


def declared(root: Path) -> dict[str, EventType]:
    """The event types that a copy of the repository declares."""
    return event_types.read_all(root / "searchflow" / "event_types")


def _table(event_type: EventType) -> Sequence[str]:
    columns = [part.split()[:2] for part in event_columns(event_type).split(",")]
    return [
        f"- name: {event_type.raw_table}",
        f"  description: {json.dumps(f'{event_type.title} as received: one row an event', ensure_ascii=False)}",
        "  columns:",
        *(f"    {name}: {kind.replace('INTEGER', 'INT')}" for name, kind in columns),
    ]


def stale(root: Path) -> Iterator[tuple[Path, Piece]]:
    """Yield a problem when the file does not hold what is declared."""
    path = root / PLACE
    if path.exists() and BEGIN in (text := path.read_text(encoding="utf-8")) and text != _written(root, text):
        line = text.splitlines().index(BEGIN) + 1
        yield path, Piece(line, "the raw tables differ from searchflow/event_types/ (run `make docs`)")


def write(root: Path) -> list[Path]:
    """Write the part again; return the file when it changed."""
    path = root / PLACE
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if BEGIN not in text or (written := _written(root, text)) == text:
        return []
    path.write_text(written, encoding="utf-8")
    return [path]


def _written(root: Path, text: str) -> str:
    lines = text.splitlines()
    begin = lines.index(BEGIN)
    end = lines.index(END, begin)
    return "\n".join([*lines[: begin + 1], *block(root), *lines[end:]]) + "\n"
