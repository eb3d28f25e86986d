"""Lateness: what a commit brought, how long after it happened, and which days behind the watermark it touched.

The figures are written in the commit's own transaction, one row a commit and event type, so that counts and events
never disagree. The watermark of an event type is its newest event so far, less the allowed lateness
(SEARCHFLOW_LATENESS_HOURS).

A history that is loaded is not late, however many files it comes in. The files of one load are measured against the
watermark that the load found, not against each other; and a file of twenty or more events, most of them behind the
watermark, is a history that is loaded after a newer one. From a stream such a commit is late: a queue was stuck.

`ops.arrivals` is the only source of the lateness curve. `curve` sums it up for people; the models
(`intermediate.int_arrivals_daily`, `ops.lateness`) sum it up by day, to tell how final the key figures are. Whether a
commit says anything about lateness is decided here, once: it is `live` when the type's newest event before it was at
most an hour old, so ingestion had caught up with the present, and it is not itself a load of old events (twenty or
more, most of them late).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from searchflow.ops import record

WITHIN = {
    "within_1m": timedelta(minutes=1),
    "within_5m": timedelta(minutes=5),
    "within_1h": timedelta(hours=1),
    "within_6h": timedelta(hours=6),
    "within_24h": timedelta(hours=24),
    "within_72h": timedelta(hours=72),
    "within_168h": timedelta(hours=168),
}
"""Columns of `ops.arrivals`: each counts the events that arrived at most so long after they happened."""
CAUGHT_UP = timedelta(hours=1)
REPLAYED = "dead_letters"
"""The source of replayed dead letters. How long they waited to be repaired says nothing about how late events are."""
FILE = "file:"
"""The beginning of a file's name as a source."""
FEW = 20
"""A commit of fewer events than this is live, whatever they are: one late booking alone in a commit is what lateness is
about.
"""

CURVE = f"""
    SELECT {{columns}} sum(events)::BIGINT AS events,
           {", ".join(f"round(sum({name}) / sum(events), 6) AS {name}" for name in WITHIN)}
    FROM ops.arrivals WHERE live {{grouping}}
"""


def measure(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    event_type: str,
    stored: pa.Table,
    batch_id: str,
    stamp: datetime,
    before: datetime | None,
    allowed: timedelta,
) -> int:
    """Note the lateness of events that are being stored, inside their transaction. Return how many are late.

    An event is late when it is older than the watermark. The watermark is `before`, the newest event before these, less
    the `allowed` lateness.
    """
    times = stored.column("event_ts")
    watermark = None if before is None else before - allowed
    days = {} if watermark is None else _late_days(times, watermark)
    old = sum(days.values()) * 2 > len(times) >= FEW
    if old and source.startswith(FILE):
        days = {}
    late = sum(days.values())
    caught_up = before is not None and stamp - before <= CAUGHT_UP
    about = {"batch_id": batch_id, "committed_at": stamp, "event_type": event_type, "source": source}
    within = {name: _since(times, stamp - length) for name, length in WITHIN.items()}
    slowest = (stamp - pc.min(times).as_py()).total_seconds()
    arrivals = {
        **about,
        "events": len(times),
        **within,
        "slowest_seconds": max(0.0, slowest),
        "watermark": watermark,
        "live": caught_up and source != REPLAYED and not old,
    }
    record.rows(connection, "ops.arrivals", [arrivals])
    record.rows(
        connection,
        "ops.late_days",
        [{**about, "event_date": day, "events": count, "watermark": watermark} for day, count in days.items()],
    )
    return late


def curve(connection: duckdb.DuckDBPyConnection, *, by: str | None = None) -> list[dict[str, Any]]:
    """Return the share of live events that arrived within each time of `WITHIN`; `by` is None, `event_type` or
    `source`.
    """
    columns = "" if by is None else f"{ {'event_type': 'event_type', 'source': 'source'}[by] },"
    query = CURVE.format(columns=columns, grouping="HAVING sum(events) > 0" if by is None else "GROUP BY 1 ORDER BY 1")
    cursor = connection.execute(query)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _since(times: pa.ChunkedArray, moment: datetime) -> int:
    return int(pc.sum(pc.greater_equal(times, pa.scalar(moment, type=pa.timestamp("us")))).as_py() or 0)


def _late_days(times: pa.ChunkedArray, watermark: datetime) -> Mapping[date, int]:
    late = pc.filter(times, pc.less(times, pa.scalar(watermark, type=pa.timestamp("us"))))
    counted = pc.value_counts(pc.cast(late, pa.date32(), safe=False))
    return {entry["values"]: entry["counts"] for entry in counted.to_pylist()}
