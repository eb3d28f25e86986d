"""The reader of declarations. Its errors name the file, the line and the field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import msgspec

from searchflow import documents
from searchflow.errors import ConfigurationError
from searchflow.event_types.declaration import Declaration, EventType, Field

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
ENVELOPE = ("event_id", "event_type", "timestamp", "session_id", "user_id")
"""The fields that every event has; no declaration may repeat them."""
TAKEN = frozenset({"file", "direct", "replay", "erasure", "ad_spend", "user_profile", "dead_letter", "all", "any"})
"""The names that positions, feeds and sums already use."""
_DEFAULTS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "identifier": (str,),
    "boolean": (bool,),
    "count": (int,),
    "ordinal": (int,),
    "amount": (int, float),
    "number": (int, float),
}

Problem = tuple[list[str | int], str]
"""The steps to a field in the file, and what is wrong there."""


def read_all(folder: Path) -> dict[str, EventType]:
    """Read the event types of a folder. Each stands after those that it refers to.

    Raises:
        ConfigurationError: a declaration cannot be used; names file, line and field.
    """
    found: dict[str, EventType] = {}
    files: dict[str, tuple[Path, str]] = {}
    for path in sorted(folder.glob("*.yaml")):
        found[path.stem], text = _read(path)
        files[path.stem] = (path, text)
    for name, (path, text) in files.items():
        for steps, problem in _problems(found[name], found):
            raise documents.wrong(path, text, steps, problem)
    return {name: found[name] for name in _ordered(found, files)}


class _File(Declaration, frozen=True, kw_only=True):
    """A file whose fields are read one by one, so that an error can name the field."""

    fields: dict[str, Any] = msgspec.field(default_factory=dict)


def _read(path: Path) -> tuple[EventType, str]:
    file, text = documents.read(path, _File)
    fields = {}
    for name, said in file.fields.items():
        try:
            fields[name] = msgspec.convert(said, Field)
        except msgspec.ValidationError as error:
            raise documents.invalid(path, text, error, ["fields", name]) from None
    return EventType(name=path.stem, **{**msgspec.structs.asdict(file), "fields": fields}), text


def _problems(event_type: EventType, known: dict[str, EventType]) -> Iterator[Problem]:
    if not _NAME.fullmatch(event_type.name):
        yield [], "the file's name is the event type: it has small letters, digits and underscores"
    if event_type.name in TAKEN:
        yield [], f"the platform uses the name {event_type.name} for something else: choose another"
    if not _NAME.fullmatch(event_type.plural):
        yield ["plural"], "it becomes part of names: write it with small letters, digits and underscores"
    if event_type.plural == "events":
        yield ["plural"], "late_events counts the events of all types: choose another"
    for other in known.values():
        if other.name < event_type.name and other.plural == event_type.plural:
            yield ["plural"], f"the event type {other.name} has the same plural: choose another"
    for name, field in event_type.fields.items():
        yield from _field_problems(name, field, known)


def _field_problems(name: str, field: Field, known: dict[str, EventType]) -> Iterator[Problem]:
    at: list[str | int] = ["fields", name]
    if name in ENVELOPE:
        yield at, "every event has this field: leave it out"
    if not _NAME.fullmatch(name):
        yield at, "a field's name has small letters, digits and underscores"
    if field.refers_to is not None and field.refers_to not in known:
        yield [*at, "refers_to"], f"there is no event type {field.refers_to}: choose one of {', '.join(known)}"
    if field.refers_to is not None and field.type != "identifier":
        yield [*at, "type"], "a field that refers to an event is an identifier"
    if field.any_time and field.refers_to is None:
        yield [*at, "any_time"], "it says when the referenced event may be, but the field refers to no event"
    if field.default is not None and (field.required or not _fits(field)):
        yield [*at, "default"], f"an optional field of type {field.type} cannot have this default"
    if field.fields and field.type != "object":
        yield [*at, "fields"], "only an object has fields"


def _fits(field: Field) -> bool:
    kinds = _DEFAULTS.get(field.type, ())
    is_flag = isinstance(field.default, bool)
    return isinstance(field.default, kinds) and is_flag == (field.type == "boolean")


def _ordered(found: dict[str, EventType], files: dict[str, tuple[Path, str]]) -> tuple[str, ...]:
    """Return the names in an order in which each stands after those that it refers to."""
    below = {name: {each.event_type for each in found[name].references} for name in sorted(found)}
    try:
        return tuple(TopologicalSorter(below).static_order())
    except CycleError as error:
        ring = [str(name) for name in error.args[1]]
        path, _ = files[ring[0]]
        raise ConfigurationError(
            str(path.name), f"refers to itself by way of {' → '.join(ring)}.", "Take one of the references out."
        ) from None
