"""What goes wrong between a client and us: lines sent twice, and lines that must become dead letters.

Late and out-of-order events are part of an event's arrival (see `funnel`). A fault is an extra line beside the valid
event, so faults never change which events are valid. Each line has a fate: 0 stored, 1 duplicate, 2 and up an entry of
`MALFORMED`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl

from generators.draws import Draws
from generators.funnel import Rows
from generators.settings import FaultSettings
from searchflow.events import MAX_EVENT_BYTES

STORED, DUPLICATE = 0, 1


class Malformed(NamedTuple):
    """One way to be wrong: the dead letter's reason code, and what is done to a good line."""

    reason: str
    spoil: Callable[[bytes], bytes]
    weight: float = 1.0


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
    Malformed("invalid_json", lambda line: line[: len(line) * 2 // 3], 2.0),
    Malformed("not_an_object", lambda line: b"[" + line + b"]"),
    Malformed("unknown_event_type", _changed(event_type="pageview")),
    Malformed("missing_field", _without("session_id"), 2.0),
    Malformed("missing_field", _without("timestamp")),
    Malformed("wrong_type", _changed(session_id=1234567890), 2.0),
    Malformed("invalid_value", _changed(timestamp="yesterday evening")),
    Malformed("timestamp_in_future", _changed(timestamp="2999-12-31T23:59:59Z")),
    Malformed("timestamp_too_old", _changed(timestamp="1970-01-01T00:00:00Z")),
    Malformed("too_large", _changed(note="x" * (MAX_EVENT_BYTES + 1)), 0.2),
    Malformed("conflicting_duplicate", _changed(session_id="another-session")),
)
FIRST_MALFORMED = 2
_CONFLICTING = FIRST_MALFORMED + [one.reason for one in MALFORMED].index("conflicting_duplicate")


def fate_name(code: int) -> str:
    """`stored`, `duplicate` or `dead_letter`."""
    return ("stored", "duplicate")[code] if code < FIRST_MALFORMED else "dead_letter"


def reason_code(code: int) -> str | None:
    """The dead letter's reason, for those that become one."""
    return MALFORMED[code - FIRST_MALFORMED].reason if code >= FIRST_MALFORMED else None


def add(draws: Draws, faults: FaultSettings, rows: Rows) -> Rows:
    """`rows`, and the extra lines that faults send."""
    return Rows(*(_add(draws, faults, frame) for _, frame in rows.items()))


def _add(draws: Draws, faults: FaultSettings, frame: pl.DataFrame) -> pl.DataFrame:
    key = frame["key"].to_numpy()
    frame = frame.with_columns(pl.lit(STORED, dtype=pl.UInt8).alias("fate"))
    again = frame.filter(pl.Series(draws.uniform("sent twice", key) < faults.duplicates))
    again = again.with_columns(
        # A minute at the least, so that the original, jitter included, comes first.
        pl.Series("arrival", again["arrival"].to_numpy() + _later(draws, again, 7_200_000)),
        pl.lit(DUPLICATE, dtype=pl.UInt8).alias("fate"),
    )
    wrong = frame.filter(pl.Series(draws.uniform("malformed", key) < faults.malformed))
    keys = wrong["key"].to_numpy()
    weights = np.array([one.weight for one in MALFORMED])
    fates = FIRST_MALFORMED + draws.choose("which fault", keys, weights)
    wrong = wrong.with_columns(
        pl.Series("arrival", wrong["arrival"].to_numpy() + _later(draws, wrong, 600_000)),
        pl.Series("fate", fates.astype(np.uint8)),
        # An id of its own, except where the fault is to reuse one.
        pl.Series("key", np.where(fates == _CONFLICTING, keys, draws.bits("malformed key", keys))),
    )
    return pl.concat([frame, again, wrong], rechunk=True)


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
