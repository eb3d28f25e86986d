"""The part of `external_models.yaml` that is made from the declared event types: one raw table for each type.

`make docs` writes it between two comments. SQLMesh reads the columns of raw tables there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from searchflow import event_types
from searchflow.devtools.made_part import MadePart
from searchflow.event_types import EventType
from searchflow.tables import event_columns


def block(root: Path) -> list[str]:
    """Make the lines between the comments."""
    return [line for each in declared(root).values() for line in _table(each)]


def declared(root: Path) -> dict[str, EventType]:
    """Return the event types that a copy of the repository declares."""
    return event_types.read_all(root / "searchflow" / "event_types")


def _table(event_type: EventType) -> Sequence[str]:
    columns = [part.split()[:2] for part in event_columns(event_type).split(",")]
    return [
        f"- name: {event_type.raw_table}",
        f"  description: {json.dumps(f'{event_type.title} as received: one row an event', ensure_ascii=False)}",
        "  columns:",
        *(f"    {name}: {kind.replace('INTEGER', 'INT')}" for name, kind in columns),
    ]


PART = MadePart(
    place=Path("external_models.yaml"),
    begin="# made:event-types (by `make docs`, from searchflow/event_types/)",
    end="# made:end",
    lines=block,
    differs="the raw tables differ from searchflow/event_types/",
)
