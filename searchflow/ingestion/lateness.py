"""How late events are: what a commit brought, how long after it happened, and which days behind the watermark it touched.

Kept in the commit's own transaction, one row a commit and event type, so that counts and events never disagree. The
watermark of an event type is its newest event so far, less the allowed lateness (SEARCHFLOW_LATENESS_HOURS).
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
}
"""Columns of `ops.arrivals`: how many events arrived at the latest so long after they happened."""

CURVE = f"""
    SELECT {{columns}} sum(events)::BIGINT AS events,
           {", ".join(f"round(sum({name}) / sum(events), 6) AS {name}" for name in WITHIN)}
    FROM ops.arrivals WHERE {{condition}} {{grouping}}
"""


def measure(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    event_type: str,
    stored: pa.Table,
    batch_id: str,
    stamp: datetime,
    watermark: datetime | None,
) -> int:
    """Note the lateness of events that are being stored, inside their transaction. Returns how many are late: older
    than `watermark`, the one before these events."""
    times = stored.column("event_ts")
    about = {"batch_id": batch_id, "committed_at": stamp, "event_type": event_type, "source": source}
    within = {name: _since(times, stamp - length) for name, length in WITHIN.items()}
    slowest = (stamp - pc.min(times).as_py()).total_seconds()
    arrivals = {**about, "events": len(times), **within, "slowest_seconds": max(0.0, slowest), "watermark": watermark}
    record.rows(connection, "ops.arrivals", [arrivals])
    days = {} if watermark is None else _late_days(times, watermark)
    record.rows(
        connection,
        "ops.late_days",
        [{**about, "event_date": day, "events": count, "watermark": watermark} for day, count in days.items()],
    )
    return sum(days.values())


def curve(connection: duckdb.DuckDBPyConnection, *, by: str | None = None, hours: float = 24.0) -> list[dict[str, Any]]:
    """Share of events that arrived within each time of `WITHIN`; `by` is None, `event_type` or `source`.

    Only commits of live traffic count: those whose newest event was at most `hours` old. A loaded history says nothing
    about lateness.
    """
    columns = "" if by is None else f"{ {'event_type': 'event_type', 'source': 'source'}[by] },"
    query = CURVE.format(
        columns=columns,
        condition=f"""batch_id IN (
            SELECT batch_id FROM ops.ingestion_batches
            WHERE shard <> 'replay' AND last_event_ts >= committed_at - to_seconds({int(hours * 3600)}))""",
        grouping="HAVING sum(events) > 0" if by is None else "GROUP BY 1 ORDER BY 1",
    )
    cursor = connection.execute(query)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _since(times: pa.ChunkedArray, moment: datetime) -> int:
    return int(pc.sum(pc.greater_equal(times, pa.scalar(moment, type=pa.timestamp("us")))).as_py() or 0)


def _late_days(times: pa.ChunkedArray, watermark: datetime) -> Mapping[date, int]:
    late = pc.filter(times, pc.less(times, pa.scalar(watermark, type=pa.timestamp("us"))))
    counted = pc.value_counts(pc.cast(late, pa.date32(), safe=False))
    return {entry["values"]: entry["counts"] for entry in counted.to_pylist()}
