"""Fixes for clocks: events that are right but for their time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any


def add_utc_offset(document: dict[str, Any], *, offset: str = "+00:00") -> dict[str, Any]:
    """Append an offset from UTC to a timestamp that has none."""
    if datetime.fromisoformat(document["timestamp"]).tzinfo is None:
        document["timestamp"] += offset
    return document


def shift_timestamp(document: dict[str, Any], *, hours: float) -> dict[str, Any]:
    """Move the timestamp by so many hours (negative: earlier), for a device whose clock was wrong."""
    document["timestamp"] = (datetime.fromisoformat(document["timestamp"]) + timedelta(hours=hours)).isoformat()
    return document
