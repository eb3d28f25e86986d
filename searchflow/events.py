"""The event contract, version 1 (CONTRACTS section 1): which lines are valid events, and why other lines are not.

The structs are made from the declarations of `searchflow.event_types`. `decode` is the fast way for valid events; `explain`
says in words what is wrong with the rest. Fields that are not declared are kept in the payload and ignored here. Each
field has a range that its column in the models can hold, so that no accepted value becomes null there; an event with a
value outside the range is a dead letter (docs/decisions/0022-ranges-and-held-events.md).
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta, Struct

from searchflow.event_types import EVENT_TYPES, EventType, Field

SCHEMA_VERSION = 1
MAX_EVENT_BYTES = 64 * 1024

MOST_AMOUNT = 1e15
"""The limit that amounts stay below: a double tells cents apart up to about 10^13, and whole units up to 9 times 10^15."""
MOST_COUNT = 2**31 - 1
"""The largest number that an INT column holds."""

Identifier = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=0, le=MOST_COUNT)]
Ordinal = Annotated[int, Meta(ge=1, le=MOST_COUNT)]
Amount = Annotated[float, Meta(ge=0, lt=MOST_AMOUNT)]
Moment = Annotated[datetime, Meta(tz=True)]

Whole = Annotated[float, Meta(ge=0, le=MOST_COUNT, multiple_of=1)]  # 2.0 is two; 2.5 is refused
Dates = Annotated[list[date | None], Meta(max_length=2)]
Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]

KINDS: dict[str, Any] = {
    "text": str,
    "identifier": Identifier,
    "count": Count,
    "ordinal": Ordinal,
    "amount": Amount,
    "number": float,
    "boolean": bool,
}
"""The kind of a declared field -> its type."""
RANGED: dict[str, Any] = {
    "amount": Amount,
    "whole": Whole,
    "dates": Dates,
    "latitude": Latitude,
    "longitude": Longitude,
}
"""The kind of a field inside an object -> its type. A value of another JSON type is kept and reported as a schema change."""
_ANY_NUMBER = str | bool | list[Any] | dict[str, Any] | None
_ANY_ARRAY = str | bool | float | dict[str, Any] | None


class Event(Struct, tag_field="event_type", kw_only=True, gc=False):
    """The fields that every event has. An event holds nothing that could refer back to it, so the garbage collector may
    leave it alone: walking through a batch of events again and again took longer than decoding it."""

    event_id: Identifier
    timestamp: Moment
    session_id: Identifier | None
    user_id: Identifier | None = None


def event_class(event_type: EventType) -> type[Event]:
    """Make the struct that checks the events of a declared type."""
    session = (
        ("session_id", Identifier) if event_type.session == "required" else ("session_id", Identifier | None, None)
    )
    fields = [_member(event_type, name, field) for name, field in event_type.fields.items()]
    made = msgspec.defstruct(
        event_type.struct_name,
        [session, *fields],
        bases=(Event,),
        tag_field="event_type",
        tag=event_type.name,
        kw_only=True,
        gc=False,
        module=__name__,
        namespace={"__doc__": event_type.about},
    )
    return cast(type[Event], made)


def _member(event_type: EventType, name: str, field: Field) -> Any:
    kind = _object_class(name, event_type.objects[name]) if field.type == "object" else KINDS[field.type]
    return (name, kind) if field.required else (name, kind | None, field.default)


def _object_class(name: str, fields: Mapping[str, str]) -> Any:
    """Make the struct of an object: it checks only the fields with a range, and the rest stays in the payload."""
    members = [
        (inner, RANGED[kind] | (_ANY_ARRAY if kind == "dates" else _ANY_NUMBER), None)
        for inner, kind in fields.items()
        if kind in RANGED
    ]
    return msgspec.defstruct(name.capitalize(), members, gc=False, module=__name__)


EVENT_CLASSES: dict[str, type[Event]] = {name: event_class(each) for name, each in EVENT_TYPES.items()}
_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(functools.reduce(operator.or_, EVENT_CLASSES.values()))

REASON_CODES = (
    "invalid_utf8",
    "invalid_json",
    "not_an_object",
    "unknown_event_type",
    "missing_field",
    "wrong_type",
    "invalid_value",
    "timestamp_in_future",
    "timestamp_too_old",
    "too_large",
    "conflicting_duplicate",
    "erased_user",
)


@dataclass(frozen=True)
class Rejection:
    """The reason why a line is not stored as an event: one of `REASON_CODES` and a sentence that shows no value."""

    code: str
    reason: str
    event_type: str | None = None


UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError)
"""The errors that a decoder raises for a line that is not an event."""


def decode(lines: Sequence[bytes]) -> tuple[list[int], list[Event], dict[int, Rejection]]:
    """Decode many lines. Return (positions of the valid ones, their events, position -> rejection for the others)."""
    good: list[int] = []
    events: list[Event] = []
    rejected: dict[int, Rejection] = {}
    for index, line in enumerate(lines):
        found = decode_one(line)
        if isinstance(found, Rejection):
            rejected[index] = found
        else:
            good.append(index)
            events.append(found)
    return good, events, rejected


def event_type_of(event: Event) -> str:
    """Return the name of an event's type in the contract."""
    return str(type(event).__struct_config__.tag)


_LONG_FRACTION = re.compile(rb'"timestamp"\s*:\s*"[^"]*[.,]\d{7}')


def is_plain(line: bytes) -> bool:
    """Return False for a line that the fast decoder must not take.

    msgspec rounds a moment to the microsecond, which may fall on the next day; the contract truncates it. An escaped digit
    or name would hide such a moment from a search in bytes.
    """
    return len(line) <= MAX_EVENT_BYTES and b"\\u00" not in line and _LONG_FRACTION.search(line) is None


def decode_one(line: bytes) -> Event | Rejection:
    """Return the event of a line, or the reason why the line is not an event."""
    if is_plain(line):
        try:
            return _DECODER.decode(line)
        except UNDECODABLE:
            pass
    return explain(line)


def explain(line: bytes) -> Event | Rejection:
    """Decode a line the slow, exact way: return its event, or the reason why the line is not an event."""
    if len(line) > MAX_EVENT_BYTES:
        return Rejection("too_large", f"the event has {len(line):,} bytes; at most {MAX_EVENT_BYTES:,} are allowed")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return Rejection("invalid_utf8", f"byte {error.start} is not UTF-8")
    try:
        document = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Rejection("invalid_json", f"not a JSON document: {_without_values(error)}")
    if not isinstance(document, dict):
        return Rejection("not_an_object", f"the document is {_json_type(document)}, not an object")
    return _explain_document(document)


def _explain_document(document: dict[str, Any]) -> Event | Rejection:
    event_type = document.get("event_type")
    if "event_type" not in document:
        return Rejection("missing_field", "event_type is missing")
    if not isinstance(event_type, str):
        return Rejection("wrong_type", f"event_type is {_json_type(event_type)}, not a string")
    if event_type not in EVENT_CLASSES:
        return Rejection("unknown_event_type", f"event_type is none of {', '.join(EVENT_CLASSES)}")
    timestamp = document.get("timestamp")
    if isinstance(timestamp, str):
        problem = _check_timestamp(timestamp)
        if isinstance(problem, str):
            return Rejection("invalid_value", problem, event_type)
        document = {**document, "timestamp": problem}
    try:
        return msgspec.convert(document, EVENT_CLASSES[event_type])
    except msgspec.ValidationError as error:
        return _from_validation(str(error), document, event_type)


def _check_timestamp(text: str) -> datetime | str:
    """Return the moment, or a sentence that says what is wrong. ISO 8601 has more forms than the fast decoder knows."""
    try:
        moment = datetime.fromisoformat(text.upper())  # digits beyond microseconds are cut off
    except ValueError:
        return "timestamp is a string, but not an ISO 8601 date and time"
    if moment.tzinfo is None:
        return "timestamp has no offset from UTC (append Z or +02:00)"
    return moment


def _from_validation(message: str, document: dict[str, Any], event_type: str) -> Rejection:
    if message.startswith("Object missing required field"):
        field = message.split("`")[1]
        return Rejection("missing_field", f"{field} is missing", event_type)
    field = message.rsplit("`$.", 1)[1].rstrip("`") if "`$." in message else "the document"
    kind = _json_type(_at(document, field))
    expected = message.split(" - at ")[0].replace("Invalid RFC3339 encoded date", "Expected a date as YYYY-MM-DD")
    if ", got " in message:
        return Rejection("wrong_type", f"{field} is {kind}: {expected}".replace("`", ""), event_type)
    return Rejection("invalid_value", f"{field} ({kind}) is not allowed: {expected}".replace("`", ""), event_type)


def _at(document: Any, path: str) -> Any:
    """Return the value at a path as msgspec writes it: `filters.dates[0]`."""
    for step in re.findall(r"[^.\[\]]+", path):
        if isinstance(document, list):
            document = document[int(step)] if step.isdigit() and int(step) < len(document) else None
        else:
            document = document.get(step) if isinstance(document, dict) else None
    return document


def same_document(one: str | bytes, other: str | bytes) -> bool:
    """Return True when two payloads are the same JSON document; the order of fields and white space do not matter."""
    if one == other:
        return True
    try:
        return bool(msgspec.json.decode(one) == msgspec.json.decode(other))
    except msgspec.MsgspecError:
        return False


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _without_values(error: Exception) -> str:
    text = str(error)
    return text if text.isascii() and len(text) < 120 else type(error).__name__
