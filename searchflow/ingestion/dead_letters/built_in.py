"""The fixes that come with SearchFlow. Each takes the decoded document and returns it repaired.

`field` is a name, or a path into the event's objects: `geo.country`. A fix returns a document unchanged when there is
nothing to do for it. Validation decides whether the document passes, not the fix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

Document = dict[str, Any]


def rename_field(document: Document, *, field: str, to: str) -> Document:
    """Give a field another name, unless the document has one of that name."""
    holder, name = _holder(document, field)
    target, new = _holder(document, to)
    if holder is not None and target is not None and name in holder and new not in target:
        target[new] = holder.pop(name)
    return document


def cast_field(document: Document, *, field: str, to: Literal["integer", "number", "string", "boolean"]) -> Document:
    """Cast a field to integer, number, string or boolean; a null stays null."""
    holder, name = _holder(document, field)
    if holder is not None and holder.get(name) is not None:
        holder[name] = CASTS[to](holder[name])
    return document


def set_default(document: Document, *, field: str, value: Any) -> Document:
    """Set a field that is missing or null."""
    holder, name = _holder(document, field)
    if holder is not None and holder.get(name) is None:
        holder[name] = value
    return document


def drop_field(document: Document, *, field: str) -> Document:
    """Remove a field from the document."""
    holder, name = _holder(document, field)
    if holder is not None:
        holder.pop(name, None)
    return document


FIXES = (rename_field, cast_field, set_default, drop_field)


def _holder(document: Document, path: str) -> tuple[Document | None, str]:
    """Return the object that holds the last name of a path, or None when there is no such object."""
    *parents, name = path.split(".")
    holder: Any = document
    for parent in parents:
        holder = holder.get(parent)
        if not isinstance(holder, dict):
            return None, name
    return holder, name


def _integer(value: Any) -> int:
    number = float(value)
    if not number.is_integer():
        raise ValueError("not a whole number")
    return int(value) if isinstance(value, str) and value.strip().lstrip("+-").isdigit() else int(number)


def _string(value: Any) -> str:
    if isinstance(value, dict | list):
        raise TypeError("an object or array is not a string")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _boolean(value: Any) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    return words[str(value).strip().lower()]


CASTS: dict[str, Callable[[Any], Any]] = {
    "integer": _integer,
    "number": float,
    "string": _string,
    "boolean": _boolean,
}
