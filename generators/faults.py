"""Faults, which happen between a client and us: lines sent twice, and lines that must become dead letters.

Late and out-of-order events are part of an event's arrival (see `funnel`). A fault is an extra line beside the valid
event, so faults never change which events are valid. Each line has a fate: 0 stored, 1 duplicate, 2 and up an entry of
`MALFORMED`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl

from generators.draws import Draws
from generators.funnel import Rows
from generators.settings import DAY_MS, FaultSettings
from searchflow.events import MAX_EVENT_BYTES

STORED, DUPLICATE = 0, 1


class Malformed(NamedTuple):
    """One way to be wrong: the dead letter's reason code, and what is done to a good line."""

    reason: str
    spoil: Callable[[bytes], bytes]


def _changed(**changes: Any) -> Callable[[bytes], bytes]:
    def spoil(line: bytes) -> bytes:
        return msgspec.json.encode({**msgspec.json.decode(line), **changes})

    return spoil


def _without(field: str) -> Callable[[bytes], bytes]:
    def spoil(line: bytes) -> bytes:
        return msgspec.json.encode({k: v for k, v in msgspec.json.decode(line).items() if k != field})

    return spoil


MALFORMED = (
    Malformed("invalid_utf8", lambda line: line.replace(b'"session_id":"', b'"session_id":"\xff\xfe', 1)),
    Malformed("invalid_json", lambda line: line[: len(line) * 2 // 3]),
    Malformed("not_an_object", lambda line: b"[" + line + b"]"),
    Malformed("unknown_event_type", _changed(event_type="pageview")),
    Malformed("missing_field", _without("session_id")),
    Malformed("missing_field", _without("timestamp")),
    Malformed("wrong_type", _changed(session_id=1234567890)),
    Malformed("invalid_value", _changed(timestamp="yesterday evening")),
    # Clocks that were set wrong by whole centuries, or reset: whenever these are ingested, they are impossible.
    Malformed("timestamp_in_future", _changed(timestamp="2999-12-31T23:59:59Z")),
    Malformed("timestamp_too_old", _changed(timestamp="1970-01-01T00:00:00Z")),
    Malformed("too_large", _changed(note="x" * (MAX_EVENT_BYTES + 1))),
    Malformed("conflicting_duplicate", _changed(session_id="another-session")),
)
REASONS = tuple(dict.fromkeys(one.reason for one in MALFORMED))
"""All reasons of the contract that a producer can cause (the platform itself causes `erased_user`)."""
FIRST_MALFORMED = 2
_CONFLICTING = FIRST_MALFORMED + [one.reason for one in MALFORMED].index("conflicting_duplicate")


def fate_name(code: int) -> str:
    """Return the fate's name: `stored`, `duplicate` or `dead_letter`."""
    return ("stored", "duplicate")[code] if code < FIRST_MALFORMED else "dead_letter"


def reason_code(code: int) -> str | None:
    """Return the dead letter's reason, for lines that become one."""
    return MALFORMED[code - FIRST_MALFORMED].reason if code >= FIRST_MALFORMED else None


def add(draws: Draws, faults: FaultSettings, rows: Rows) -> Rows:
    """Return `rows`, and the extra lines that faults send."""
    return Rows(*(_new_fields(draws, faults, _add(draws, faults, frame)) for _, frame in rows.items()))


def _add(draws: Draws, faults: FaultSettings, frame: pl.DataFrame) -> pl.DataFrame:
    key = frame["key"].to_numpy()
    frame = frame.with_columns(pl.lit(STORED, dtype=pl.UInt8).alias("fate"))
    again = frame.filter(pl.Series(draws.uniform("sent twice", key) < faults.duplicates))
    again = again.with_columns(
        # A minute at the least, so that the original, jitter included, comes first.
        pl.Series("arrival", again["arrival"].to_numpy() + _later(draws, again, 7_200_000)),
        pl.lit(DUPLICATE, dtype=pl.UInt8).alias("fate"),
    )
    wrong = frame.filter(pl.Series(draws.uniform("malformed", key) < _rates(faults).sum()))
    keys = wrong["key"].to_numpy()
    fates = FIRST_MALFORMED + (draws.choose("which fault", keys, _rates(faults)) if len(wrong) else np.zeros(0, int))
    wrong = wrong.with_columns(
        pl.Series("arrival", wrong["arrival"].to_numpy() + _later(draws, wrong, 600_000)),
        pl.Series("fate", fates.astype(np.uint8)),
        # An id of its own, except where the fault is to reuse one.
        pl.Series("key", np.where(fates == _CONFLICTING, keys, draws.bits("malformed key", keys))),
    )
    return pl.concat([frame, again, wrong], rechunk=True)


def _rates(faults: FaultSettings) -> np.ndarray:
    """Return the rate of each of `MALFORMED`. A reason with several of them shares its rate among them."""
    reasons = [one.reason for one in MALFORMED]
    return np.array([getattr(faults, reason) / reasons.count(reason) for reason in reasons])


def _new_fields(draws: Draws, faults: FaultSettings, frame: pl.DataFrame) -> pl.DataFrame:
    """Add a column `extra` when there are new fields: JSON text that goes to the end of each line."""
    if not faults.new_fields:
        return frame
    extra = pl.Series("extra", [""]).new_from_index(0, len(frame))
    day = frame["ts"].to_numpy() // DAY_MS
    for field in faults.new_fields:
        number = pl.Series(draws.below(f"new field {field.name}", frame["session"].to_numpy(), 9))
        value = {
            "string": '"' + number.cast(pl.String) + '.0"',
            "integer": number.cast(pl.String),
            "number": (number + 0.5).cast(pl.String),
            "boolean": (number > 4).cast(pl.String),
        }[field.kind]
        since = pl.Series(day >= (field.since - date(1970, 1, 1)).days)
        extra = (extra + f",{msgspec.json.encode(field.name).decode()}:" + value).zip_with(since, extra)
    return frame.with_columns(extra.alias("extra"))


def _later(draws: Draws, frame: pl.DataFrame, most: int) -> np.ndarray:
    unit = draws.uniform("sent later", frame["key"].to_numpy())
    return 60_000 + np.floor(unit**3 * most).astype(np.int64)


def spoil(lines: pl.DataFrame) -> pl.DataFrame:
    """Apply each line's fault. The few lines with one are rewritten one by one."""
    wrong = np.flatnonzero(lines["fate"].to_numpy() >= FIRST_MALFORMED)
    if not len(wrong):
        return lines
    text = lines["line"]
    fates = lines["fate"]
    spoiled = [MALFORMED[fates[int(row)] - FIRST_MALFORMED].spoil(text[int(row)]) for row in wrong]
    order = np.arange(len(lines))
    order[wrong] = len(lines) + np.arange(len(wrong))
    return lines.with_columns(pl.concat([text, pl.Series(spoiled, dtype=pl.Binary)]).gather(order).alias("line"))
