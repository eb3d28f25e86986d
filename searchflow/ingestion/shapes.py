"""Shapes: the fields of each event type that are known so far, as decoders that refuse whatever is new.

`Shapes.whole` decodes every part of a line, by the contract and by what `ops.schema_changes` holds. A line that it
takes is a valid event, brings nothing new, and is JSON and UTF-8 to its last byte: one pass in C answers all of it.
Only lines that it refuses are looked at more closely. What is known only grows, so an older decoder refuses too much,
never too little: reading ahead may use one while a commit learns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from searchflow.event_types import EVENT_TYPES
from searchflow.events import EVENT_CLASSES, RANGED, Event

Objects = Mapping[str, Mapping[str, str]]
"""The objects of an event type, each with the kinds of the fields inside it (CONTRACTS section 1)."""
JSON_TYPES = {"text": "string", "dates": "array"}
"""Kind of a field inside an object -> its JSON type; the others are numbers."""

KnownFields = dict[str, set[str]]
"""Path of a field -> the JSON types it has had; none when it was always null."""


class Shapes:
    """The shapes that one worker knows. One thread learns, while others may decode."""

    def __init__(self) -> None:
        self._known = {event_type: contract(event_type) for event_type in EVENT_CLASSES}
        self.whole = _whole(self._known)
        """A decoder that takes lines of any event type, when it knows every field of them."""

    def known(self, event_type: str) -> KnownFields:
        """Return fields and types of one event type."""
        return self._known[event_type]

    def learn(self, event_type: str, news: KnownFields) -> None:
        """Add fields and types that were learnt."""
        known = self._known[event_type]
        if all(path in known and types <= known[path] for path, types in news.items()):
            return
        merged = {path: known.get(path, set()) | news.get(path, set()) for path in [*known, *news]}
        self._known = {**self._known, event_type: merged}
        self.whole = _whole(self._known)


def contract(event_type: str) -> KnownFields:
    """Return the fields that the event contract names, with their JSON types."""
    known: KnownFields = {"event_type": {"string"}}
    for field in msgspec.structs.fields(EVENT_CLASSES[event_type]):
        known[field.name] = _types(msgspec.inspect.type_info(field.type))
    for parent, inner in EVENT_TYPES[event_type].objects.items():
        known |= {f"{parent}.{name}": {_json_type(kind)} for name, kind in inner.items()}
    return known


def _json_type(kind: str) -> str:
    return JSON_TYPES.get(kind, "number")


def _types(declared: msgspec.inspect.Type) -> set[str]:
    if isinstance(declared, msgspec.inspect.Metadata):
        return _types(declared.type)
    if isinstance(declared, msgspec.inspect.UnionType):
        return set().union(*(_types(member) for member in declared.types))
    if isinstance(declared, msgspec.inspect.StrType | msgspec.inspect.DateTimeType):
        return {"string"}
    if isinstance(declared, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        return {"number"}
    if isinstance(declared, msgspec.inspect.BoolType):
        return {"boolean"}
    return {"object"} if not isinstance(declared, msgspec.inspect.NoneType) else set()


def escaped(name: str) -> str:
    """Return a field's name as it stands in a path, where dots part levels and a star stands for all."""
    return name.replace("\\", "\\\\").replace(".", "\\u002e").replace("*", "\\u002a")


def _unescaped(name: str) -> str:
    return name.replace("\\u002a", "*").replace("\\u002e", ".").replace("\\\\", "\\")


def is_map(path: str) -> bool:
    """Return True for `parent.*`: the parent's keys are data, so none of them is ever new."""
    return path.rpartition(".")[2] == "*"


_TYPE_OF: dict[str, Any] = {"string": str, "number": float, "boolean": bool, "array": list[Any]}
_MAP = dict[str, Any]


def _whole(known: dict[str, KnownFields]) -> msgspec.json.Decoder[Event]:
    classes = [_class(event_type, fields) for event_type, fields in known.items()]
    union = classes[0]
    for other in classes[1:]:
        union = union | other
    return msgspec.json.Decoder(union)


def _class(event_type: str, known: KnownFields) -> Any:
    """Build the contract's class, with the types inside its objects and the fields that were learnt."""
    contracted, objects = EVENT_CLASSES[event_type], EVENT_TYPES[event_type].objects
    inner: dict[str, KnownFields] = {}
    for path, types in known.items():
        parent, _, name = path.rpartition(".")
        inner.setdefault(parent, {})[name] = types
    own = {field.name for field in msgspec.structs.fields(contracted)} | {"event_type"}
    fields = {
        name: _union(types, _object(inner.get(name, {}), objects.get(name, {})))
        for name, types in inner[""].items()
        if name not in own or name in objects
    }
    return _define(fields, objects, bases=(contracted,), tag_field="event_type", tag=event_type, kw_only=True)


def _object(fields: KnownFields, declared: Mapping[str, str]) -> Any:
    """Build the type of an object in a field: one level is known, and what lies below may be anything."""
    ranged = {name: {_json_type(kind): RANGED[kind]} for name, kind in declared.items() if kind in RANGED}
    kinds = {name: _union(types, _MAP, ranged.get(name)) for name, types in fields.items()}
    if "*" not in fields:
        return _define(kinds, {})
    # Its keys are data; those that the contract names keep their ranges.
    return _define({name: kinds[name] for name in ranged}, {}, forbid_unknown_fields=False) if ranged else _MAP


def _union(types: set[str], shape: Any, ranged: dict[str, Any] | None = None) -> Any:
    """Build a union of the JSON types and of objects of this shape; `ranged` are types of which the contract takes a
    part only.
    """
    union: Any = None
    for kind in sorted(types - {"*", "null"}):
        member = shape if kind == "object" else (ranged or {}).get(kind, _TYPE_OF[kind])
        union = member | None if union is None else union | member
    return union


def _define(fields: dict[str, Any], kept: Objects, **options: Any) -> Any:
    """Define a struct of these fields. Those in `kept` replace a field of the base class, so they have its name."""
    # A name that msgspec cannot hold stays unknown to the decoder: such lines are looked at each time, and reported once.
    usable = {name: kind for name, kind in fields.items() if name != "*" and _usable(_unescaped(name))}
    names = {name if name in kept else f"f{number}": name for number, name in enumerate(usable)}
    members = [(alias, usable[name], None) for alias, name in names.items()]
    renamed = {alias: _unescaped(name) for alias, name in names.items()}
    return msgspec.defstruct(
        "Shape", members, **{"rename": renamed, "forbid_unknown_fields": True, "gc": False, **options}
    )


def _usable(name: str) -> bool:
    return name.isprintable() and '"' not in name and "\\" not in name
