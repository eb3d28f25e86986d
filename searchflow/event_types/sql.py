"""SQL over the raw tables of all event types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from searchflow.event_types.declaration import EventType, Reference

Chain = tuple[tuple[EventType, Reference], ...]
"""The steps from an event to one that it refers to, each by one field."""


def of_every_type(types: Mapping[str, EventType], select: str) -> str:
    """Return one query with a SELECT for each type; `{name}`, `{plural}` and `{table}` in it are filled in.

    >>> of_every_type(EVENT_TYPES, "SELECT event_id FROM raw.{table}")  # doctest: +SKIP
    'SELECT event_id FROM raw.search_events UNION ALL SELECT event_id FROM raw.click_events UNION ALL ...'
    """
    return " UNION ALL ".join(
        select.format(name=each.name, plural=each.plural, table=each.table) for each in types.values()
    )


def chains_to(types: Mapping[str, EventType], target: str) -> Iterator[Chain]:
    """Yield every chain that leads from an event to one of the type `target`; for that type itself, the empty chain."""
    yield ()
    for each in types.values():
        for reference in each.references:
            if reference.event_type == target:
                for chain in chains_to(types, each.name):
                    yield (*chain, (each, reference))
