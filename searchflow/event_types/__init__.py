"""The types of events, each declared once: one YAML file beside this module, named for its type.

From a declaration follow the struct that checks its events, stream, raw table with its partitions, position, turn to commit,
Prefect task, dead-letter texts, changed days, restatements, freshness, lateness, erasure, masks, the simulator's publisher
and the dashboards' kinds. Imports only what reads a file (docs/decisions/0031-one-declaration-an-event-type.md).
"""

from __future__ import annotations

from pathlib import Path

from searchflow.event_types.declaration import EventType, Field, Reference
from searchflow.event_types.reading import read_all
from searchflow.event_types.sql import chains_to, of_every_type

FOLDER = Path(__file__).parent
EVENT_TYPES: dict[str, EventType] = read_all(FOLDER)
"""Name -> what was declared. A type stands behind those that it refers to; beyond that the order means nothing."""
NAMES = tuple(EVENT_TYPES)

__all__ = ["EVENT_TYPES", "NAMES", "EventType", "Field", "Reference", "chains_to", "of_every_type", "read_all"]
