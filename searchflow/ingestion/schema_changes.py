"""Fields that nobody told us about, and fields whose type changes: noticed at the commit, without a migration.

Each stored line is decoded against everything known so far: the contract, and what `ops.schema_changes` holds. msgspec
refuses an unknown field or another type in C, so a line that brings nothing new costs about a microsecond and nothing
is ever missed; only lines with something new are looked at field by field, until the next commit knows it.

Rows are written in the commit's transaction, and every writer of an event type conflicts with every other there: a
field is reported once. Values are shown by their shape only (letters as a, digits as 9).
"""

from __future__ import annotations

import unicodedata
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from searchflow.events import EVENT_CLASSES
from searchflow.ops import record

CONTRACT_OBJECTS = {
    "filters": {"price_min": "number", "price_max": "number", "dates": "array", "travelers": "number"},
    "geo": {"country": "string", "city": "string", "latitude": "number", "longitude": "number"},
}
"""Fields of the contract's objects (CONTRACTS section 1), which validation leaves alone."""
MOST_FIELDS = 200
"""Unknown fields of one object. Beyond it the keys are data (a map by id): the rest is reported as `parent.*`, once."""
EXAMPLE_LENGTH = 60

Known = dict[str, set[str]]
"""Path of a field -> the JSON types it has had."""


@dataclass
class _Decoders:
    """What one connection knows: a decoder of each event type that refuses whatever is new."""

    by_type: dict[str, tuple[Known, msgspec.json.Decoder[Any]]]


_decoders: weakref.WeakKeyDictionary[duckdb.DuckDBPyConnection, _Decoders] = weakref.WeakKeyDictionary()


def note(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    event_type: str,
    stored: pa.Table,
    lines: Sequence[bytes],
    batch_id: str,
    stamp: datetime,
) -> int:
    """Report fields that `stored` events are the first to have, inside their transaction. Returns how many.

    `lines` are the batch's lines; the column `seq` of `stored` says which of them the events are.
    """
    decoders = _decoders.setdefault(connection, _Decoders({}))
    if event_type not in decoders.by_type:
        known = _known(connection, event_type)
        decoders.by_type[event_type] = (known, _decoder(known))
    known, decoder = decoders.by_type[event_type]
    sequence = stored.column("seq").to_pylist()
    unfamiliar = _refused(decoder, [lines[index] for index in sequence])
    if not unfamiliar:
        return 0
    ids = stored.column("event_id")
    about = {"event_type": event_type, "first_seen_at": stamp, "source": source, "batch_id": batch_id}
    found = _news(known, ((lines[sequence[place]], ids[place].as_py()) for place in unfamiliar))
    record.rows(connection, "ops.schema_changes", [{**about, **change} for change in found])
    if found:
        del decoders.by_type[event_type]  # read again: this transaction may yet be rolled back
    return len(found)


def _refused(decoder: msgspec.json.Decoder[Any], lines: Sequence[bytes]) -> list[int]:
    decode, refused = decoder.decode, []
    for place, line in enumerate(lines):
        try:
            decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            refused.append(place)
    return refused


def _news(known: Known, documents: Iterator[tuple[bytes, str]]) -> list[dict[str, Any]]:
    """One entry a field and type that is not `known`: where it was seen first, in the order of the lines."""
    seen = {path: set(types) for path, types in known.items()}
    found = []
    for line, event_id in documents:
        for path, value in _fields(msgspec.json.decode(line)):
            kind = json_type(value)
            place = _place(path, seen)
            if kind == "null" or kind in seen.get(place, ()) or "*" in seen.get(place, ()):
                continue
            before = sorted(seen.get(place, ()))
            seen.setdefault(place, set()).add("*" if _is_map(place) else kind)
            found.append(
                {
                    "field": place,
                    "kind": "type_change" if before else "new_field",
                    "json_type": kind,
                    "previous_types": ", ".join(before) or None,
                    "example": masked(value),
                    "event_id": event_id,
                }
            )
    return found


def _place(path: str, seen: Known) -> str:
    """The path to report, or `parent.*` when its parent has very many fields."""
    if path in seen:
        return path
    parent, _, _ = path.rpartition(".")
    everything = f"{parent}.*" if parent else "*"
    if everything in seen:
        return everything
    siblings = sum(1 for other in seen if other.rpartition(".")[0] == parent)
    return everything if siblings >= MOST_FIELDS else path


def _fields(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Paths and values: the document's fields and, one level down, those of its objects. Dots in names are escaped."""
    for name, value in document.items():
        path = _escaped(name)
        yield path, value
        if isinstance(value, dict):
            for inner, below in value.items():
                yield f"{path}.{_escaped(inner)}", below


def _is_map(path: str) -> bool:
    return path.rpartition(".")[2] == "*"


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace(".", "\\u002e").replace("*", "\\u002a")


def _unescaped(name: str) -> str:
    return name.replace("\\u002a", "*").replace("\\u002e", ".").replace("\\\\", "\\")


def json_type(value: object) -> str:
    """The JSON type of a decoded value. Whole and fractional numbers are one type, as in JSON."""
    if value is None:
        return "null"
    names: dict[type, str] = {bool: "boolean", str: "string", dict: "object", list: "array"}
    return names.get(type(value), "number")


def masked(value: object) -> str:
    """A value's shape, safe to show to anyone: `anna@example.com` is `aaaa@aaaaaaa.aaa`, 4711.5 is 9999.9."""
    if isinstance(value, bool):
        return str(value).lower()
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if isinstance(value, dict | list):
        return f"{'object' if isinstance(value, dict) else 'array'} of {len(value)}"
    return "".join(_mask(character) for character in text[:EXAMPLE_LENGTH]) + (
        "…" if len(text) > EXAMPLE_LENGTH else ""
    )


def _mask(character: str) -> str:
    group = unicodedata.category(character)[0]
    return {"L": "a", "M": "a", "N": "9", "C": "?"}.get(group, character if character.isascii() else "?")


# What is known, and a decoder that refuses the rest.


def _known(connection: duckdb.DuckDBPyConnection, event_type: str) -> Known:
    known = contract(event_type)
    rows = connection.execute(
        "SELECT field, json_type FROM ops.schema_changes WHERE event_type = ?", [event_type]
    ).fetchall()
    for field, kind in rows:
        known.setdefault(str(field), set()).add("*" if _is_map(str(field)) else str(kind))
    return known


def contract(event_type: str) -> Known:
    """The fields that the event contract names, with their JSON types."""
    known: Known = {"event_type": {"string"}}
    for field in msgspec.structs.fields(EVENT_CLASSES[event_type]):
        known[field.name] = _types(msgspec.inspect.type_info(field.type))
    for parent, inner in CONTRACT_OBJECTS.items():
        if parent in known:
            known |= {f"{parent}.{name}": {kind} for name, kind in inner.items()}
    return known


def _types(declared: msgspec.inspect.Type) -> set[str]:
    if isinstance(declared, msgspec.inspect.Metadata):
        return _types(declared.type)
    if isinstance(declared, msgspec.inspect.UnionType):
        return set().union(*(_types(member) for member in declared.types))
    if isinstance(declared, msgspec.inspect.StrType | msgspec.inspect.DateTimeType):
        return {"string"}
    if isinstance(declared, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        return {"number"}
    return {"object"} if not isinstance(declared, msgspec.inspect.NoneType) else set()


class _Anything(msgspec.Struct, gc=False):
    """An object that is not looked into."""


_TYPE_OF: dict[str, Any] = {"string": str, "number": float, "boolean": bool, "array": list, "object": _Anything}


def _decoder(known: Known) -> msgspec.json.Decoder[Any]:
    inner: dict[str, Known] = {}
    for path, types in known.items():
        parent, _, name = path.rpartition(".")
        inner.setdefault(parent, {})[name] = types
    fields = {
        name: _union(types, _struct(inner[name]) if name in inner else _Anything)
        for name, types in inner.pop("", {}).items()
    }
    return msgspec.json.Decoder(_define(fields))


def _struct(fields: Known) -> Any:
    return _define({name: _union(types, _Anything) for name, types in fields.items()})


def _union(types: set[str], shape: Any) -> Any:
    union: Any = None
    for kind in types - {"*", "null"}:
        member = shape if kind == "object" else _TYPE_OF[kind]
        union = member | None if union is None else union | member
    return union


def _define(fields: dict[str, Any]) -> Any:
    # A name that msgspec cannot hold stays unknown to the decoder: such lines are looked at each time, and reported once.
    usable = {name: kind for name, kind in fields.items() if name != "*" and _usable(_unescaped(name))}
    names = {f"f{number}": _unescaped(name) for number, name in enumerate(usable)}
    members = [(alias, kind, None) for alias, kind in zip(names, usable.values(), strict=True)]
    return msgspec.defstruct("Shape", members, rename=names, forbid_unknown_fields="*" not in fields, gc=False)


def _usable(name: str) -> bool:
    return name.isprintable() and '"' not in name and "\\" not in name
