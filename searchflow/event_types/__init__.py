"""The types of events. Each is declared once: in one YAML file beside this module, named for its type.

These follow from a declaration: the struct that checks its events, stream, raw table with its partitions, position, turn to
commit, Prefect task, dead-letter texts, changed days, restatements, freshness, lateness, erasure, masks, the simulator's
publisher and the dashboards' kinds. This package imports only what reads a file
(docs/decisions/0031-one-declaration-an-event-type.md).
"""

from __future__ import annotations

from pathlib import Path

from searchflow.event_types.declaration import EventType, Field, Reference
from searchflow.event_types.reading import read_all
from searchflow.event_types.sql import chains_to, of_every_type

FOLDER = Path(__file__).parent
EVENT_TYPES: dict[str, EventType] = read_all(FOLDER)
"""The name of an event type -> its declaration. A type stands after those that it refers to; no other order matters."""
NAMES = tuple(EVENT_TYPES)

__all__ = ["EVENT_TYPES", "NAMES", "EventType", "Field", "Reference", "chains_to", "of_every_type", "read_all"]
