"""Remedies: why events were refused most often, and how to mend each reason. A first producer needs to know this at
once.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import duckdb

from searchflow import event_types

MOST = 3
"""The number of reasons that are told; `searchflow dlq list` shows all."""
REMEDIES = {
    "invalid_utf8": "Write the events as UTF-8.",
    "invalid_json": "Write one JSON object a line, with nothing between the lines.",
    "not_an_object": "Send each event as an object of its own, one a line, not as a list.",
    "unknown_event_type": f"Set event_type to one of these: {', '.join(event_types.NAMES)}.",
    "missing_field": (
        "Send the field. If it has another name: `searchflow dlq replay --reason missing_field --fix rename_field "
        "--param field=YOURS --param to={field} --dry-run`."
    ),
    "wrong_type": (
        "Send the type of the contract. For these: `searchflow dlq replay --reason wrong_type --fix cast_field "
        "--param field={field} --param to={type} --dry-run`."
    ),
    "invalid_value": "Send a value that the contract allows (docs/guides/your-own-events.md).",
    "timestamp_in_future": "Set the producer's clock right, then `searchflow dlq replay --reason timestamp_in_future`.",
    "timestamp_too_old": (
        "Set SEARCHFLOW_HISTORY_START before your first event, then `searchflow dlq replay --reason timestamp_too_old`."
    ),
    "too_large": "Leave long texts out: an event has at most 64 KiB.",
    "conflicting_duplicate": "Give each event an event_id of its own: this one is known with other content.",
    "erased_user": "Nothing to mend: the person was erased.",
}
"""Reason code -> what to do; `{field}` and `{type}` come from the reason's sentence."""
_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


def most_frequent(connection: duckdb.DuckDBPyConnection, since: datetime, most: int = MOST) -> list[dict[str, Any]]:
    """Return the most frequent reasons of dead letters received since a moment, each with how to mend it."""
    rows = connection.execute(
        "SELECT reason_code, event_type, reason, count(*) AS letters FROM raw.dead_letters WHERE received_at >= ? "
        "GROUP BY ALL ORDER BY letters DESC, reason_code, reason, event_type LIMIT ?",
        [since.replace(tzinfo=None), most],
    ).fetchall()
    return [
        {"letters": letters, "reason_code": code, "event_type": kind, "reason": reason, "mend": remedy(code, reason)}
        for code, kind, reason, letters in rows
    ]


def remedy(code: str, reason: str) -> str:
    """Return what to do about a reason: a sentence, with the command that repairs such dead letters where there is one."""
    expected = re.search(r"Expected (\w+)", reason)
    kind = _TYPES.get(expected[1]) if expected else None
    if code == "wrong_type" and kind is None:
        return "Send the type of the contract (docs/guides/your-own-events.md)."
    return REMEDIES[code].format(field=reason.split(" ")[0], type=kind)
