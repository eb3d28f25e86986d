"""Events as another company's producer would write them: literal documents that no generator of ours made."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)
"""The clock of tests that need one."""


def line(**document: Any) -> bytes:
    return json.dumps(document).encode()


def search(number: int = 1, **changes: Any) -> dict[str, Any]:
    document = {
        "event_id": f"11111111-1111-4111-8111-{number:012d}",
        "event_type": "search",
        "timestamp": (NOW - timedelta(hours=2) + timedelta(seconds=number)).isoformat(),
        "session_id": "web-77",
        "query": "hotels in Lisbon",
        "results_count": 12,
    }
    return {key: value for key, value in {**document, **changes}.items() if value is not ...}


def click(number: int = 1, of: int = 1, **changes: Any) -> dict[str, Any]:
    document = {
        "event_id": f"22222222-2222-4222-8222-{number:012d}",
        "event_type": "click",
        "timestamp": (NOW - timedelta(hours=1, minutes=50)).isoformat(),
        "session_id": "web-77",
        "search_event_id": f"11111111-1111-4111-8111-{of:012d}",
        "result_id": "hotel-9",
        "result_position": 2,
    }
    return {key: value for key, value in {**document, **changes}.items() if value is not ...}


def conversion(number: int = 1, of: int = 1, **changes: Any) -> dict[str, Any]:
    document = {
        "event_id": f"33333333-3333-4333-8333-{number:012d}",
        "event_type": "conversion",
        "timestamp": (NOW - timedelta(hours=1, minutes=30)).isoformat(),
        "session_id": "web-77",
        "click_event_id": f"22222222-2222-4222-8222-{of:012d}",
        "booking_value": 420.5,
        "currency": "EUR",
    }
    return {key: value for key, value in {**document, **changes}.items() if value is not ...}


def refused() -> dict[str, list[bytes]]:
    """At least one line for every reason code of the contract, except conflicts (they need a stored event)."""
    late = (NOW + timedelta(minutes=6)).isoformat()
    return {
        "invalid_utf8": [
            b'{"event_type": "search", "query": "\xff"}',
            json.dumps(search(900)).encode()[:-1] + b', "x": "\xfe"}',
        ],
        "invalid_json": [b'{"event_id": ', b"nonsense", json.dumps(search(901)).encode()[:-1] + rb', "x": "\ud800"}'],
        "not_an_object": [b"[1, 2]", b'"text"', b"null"],
        "unknown_event_type": [line(**search(902, event_type="hover"))],
        "missing_field": [
            line(**search(903, query=...)),
            line(**click(903, search_event_id=...)),
            line(**conversion(903, booking_value=...)),
            line(**search(904, event_type=...)),
        ],
        "wrong_type": [
            line(**search(905, results_count="12")),
            line(**search(906, session_id=None)),
            line(**click(906, result_price="9")),
        ],
        "invalid_value": [
            line(**search(907, event_id="not-a-uuid")),
            line(**search(908, results_count=-1)),
            line(**search(909, timestamp="2026-05-20T10:00:00")),
            line(**search(910, timestamp="yesterday")),
            line(**search(911, session_id="")),
            line(**search(912, session_id="a\0b")),
            line(**conversion(912, booking_value=-0.01)),
        ],
        "timestamp_in_future": [line(**search(913, timestamp=late))],
        "timestamp_too_old": [line(**search(914, timestamp="1999-12-31T23:59:59Z"))],
        "too_large": [line(**search(915, query="x" * 70_000))],
    }
