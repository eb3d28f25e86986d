"""SQL over the raw tables of all event types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from searchflow.event_types.declaration import EventType, Reference

Chain = tuple[tuple[EventType, Reference], ...]
"""Steps from an event to one that it refers to, each by one field."""


def of_every_type(types: Mapping[str, EventType], select: str) -> str:
    """One SELECT a type, as one query; `{name}`, `{plural}` and `{table}` in it are filled in.

    >>> of_every_type(EVENT_TYPES, "SELECT event_id FROM raw.{table}")  # doctest: +SKIP
    'SELECT event_id FROM raw.search_events UNION ALL SELECT event_id FROM raw.click_events UNION ALL ...'
    """
    return " UNION ALL ".join(
        select.format(name=each.name, plural=each.plural, table=each.table) for each in types.values()
    )


def chains_to(types: Mapping[str, EventType], target: str) -> Iterator[Chain]:
    """Every way on which an event leads to one of the type `target`; of that type itself the empty one."""
    yield ()
    for each in types.values():
        for reference in each.references:
            if reference.event_type == target:
                for chain in chains_to(types, each.name):
                    yield (*chain, (each, reference))
