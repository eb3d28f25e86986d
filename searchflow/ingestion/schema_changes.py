"""Schema changes: fields that no declaration named, and fields whose type changes. They are noticed at the commit,
without a migration.

Validation decodes each line against everything known so far (`shapes`), so a line that brings nothing new costs nothing
here, and no new field is ever missed. Only lines with something new are read field by field, until the worker knows it.

Rows are written in the commit's transaction, and every writer of an event type conflicts with every other there: a
field is reported once. Values are shown by their shape only (letters as a, digits as 9).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Set
from datetime import datetime
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from searchflow.ingestion.checks import PreparedBatch
from searchflow.ingestion.shapes import KnownFields, escaped, is_map
from searchflow.ops import record

MOST_FIELDS = 200
"""Unknown fields of one object. Beyond it the keys are data (a map by id): the rest is reported as `parent.*`, once."""
EXAMPLE_LENGTH = 60


def note(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    event_type: str,
    stored: pa.Table,
    prepared: PreparedBatch,
    batch_id: str,
    stamp: datetime,
) -> int:
    """Report fields that `stored` events are the first to have, inside their transaction. Return how many."""
    unfamiliar = _unfamiliar(stored, prepared.unfamiliar)
    if not unfamiliar:
        return 0
    # Known by now, as this transaction sees it: another worker may have reported the same since our last look.
    prepared.shapes.learn(event_type, _reported(connection, event_type))
    about = {"event_type": event_type, "first_seen_at": stamp, "source": source, "batch_id": batch_id}
    lines = ((prepared.lines[seq], event_id) for seq, event_id in unfamiliar)
    found, always_null = _news(prepared.shapes.known(event_type), lines)
    record.rows(connection, "ops.schema_changes", [{**about, **change} for change in found])
    # What was found is learnt from the table, by the next commit: this transaction may yet be rolled back.
    prepared.shapes.learn(event_type, {path: set() for path in always_null})
    return len(found)


def _unfamiliar(stored: pa.Table, sequence: Set[int]) -> list[tuple[int, str]]:
    """Return (place among the batch's lines, event_id) of stored events that hold something the decoder did not know."""
    if not sequence:
        return []
    pairs = zip(stored.column("seq").to_pylist(), stored.column("event_id").to_pylist(), strict=True)
    return [(seq, event_id) for seq, event_id in pairs if seq in sequence]


def _reported(connection: duckdb.DuckDBPyConnection, event_type: str) -> KnownFields:
    reported: KnownFields = {}
    rows = connection.execute(
        "SELECT field, json_type FROM ops.schema_changes WHERE event_type = ?", [event_type]
    ).fetchall()
    for field, kind in rows:
        reported.setdefault(str(field), set()).add("*" if is_map(str(field)) else str(kind))
    return reported


def _news(known: KnownFields, lines: Iterable[tuple[bytes, str]]) -> tuple[list[dict[str, Any]], set[str]]:
    """Return (one entry for each field and type that is not `known`, from where it was seen first; fields that were
    only ever null).
    """
    seen = {path: set(types) for path, types in known.items()}
    found = []
    for line, event_id in lines:
        for path, value in _fields(_document(line)):
            kind, place = json_type(value), _place(path, seen)
            types = seen.get(place, set())
            if kind in types or "*" in types:
                continue
            if kind == "null":
                if not is_map(place):
                    seen.setdefault(place, set())
                continue
            found.append(
                {
                    "field": place,
                    "kind": "type_change" if types else "new_field",
                    "json_type": kind,
                    "previous_types": ", ".join(sorted(types)) or None,
                    "example": masked(value),
                    "event_id": event_id,
                }
            )
            seen.setdefault(place, set()).add("*" if is_map(place) else kind)
    return found, {path for path, types in seen.items() if not types}


def _document(line: bytes) -> dict[str, Any]:
    """Return a stored event's fields, or none when one of them is a number that no float can hold, which JSON allows."""
    try:
        return dict(msgspec.json.decode(line))
    except msgspec.MsgspecError:
        return {}


def _place(path: str, seen: KnownFields) -> str:
    """Return the path to report, or `parent.*` when its parent has very many fields."""
    if path in seen:
        return path
    parent, _, _ = path.rpartition(".")
    everything = f"{parent}.*" if parent else "*"
    if everything in seen:
        return everything
    siblings = sum(1 for other in seen if other.rpartition(".")[0] == parent)
    return everything if siblings >= MOST_FIELDS else path


def _fields(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield paths and values: the document's fields and, one level down, those of its objects. Dots in names are
    escaped.
    """
    for name, value in document.items():
        path = escaped(name)
        yield path, value
        if isinstance(value, dict):
            for inner, below in value.items():
                yield f"{path}.{escaped(inner)}", below


def json_type(value: object) -> str:
    """Return the JSON type of a decoded value. Whole and fractional numbers are one type, as in JSON."""
    if value is None:
        return "null"
    names: dict[type, str] = {bool: "boolean", str: "string", dict: "object", list: "array"}
    return names.get(type(value), "number")


def masked(value: object) -> str:
    """Return a value's shape, safe to show to anyone: `anna@example.com` is `aaaa@aaaaaaa.aaa`, 4711.5 is 9999.9."""
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
