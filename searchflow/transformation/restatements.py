"""Restatements: what the key figures of closed days were, and what they became. Every value they have had is kept, with
the late events behind it.

After a transformation the closed days of `marts.mart_kpi_daily` are compared with the values that were noted last
(`ops.kpi_versions`), and what differs is appended in one commit. Nothing else is remembered. When a process is killed
before that commit, the next transformation finds the same differences; when it is run twice, it finds none. The model
`ops.kpi_restatements` shows them.
"""

from __future__ import annotations

from datetime import datetime

import duckdb

from searchflow.event_types import EVENT_TYPES, of_every_type

MART = "marts.mart_kpi_daily"
METRICS = ("searches", "sessions", "clicks", "conversions", "revenue")

# A day that is gone (its events were erased) has become 0.
CHANGED = f"""
    CREATE OR REPLACE TEMP TABLE changed AS
    WITH figures AS (
        SELECT kpi_date, {", ".join(f"{metric}::DOUBLE AS {metric}" for metric in METRICS)} FROM {MART}
        WHERE kpi_date < $now::DATE
    ), made AS (
        UNPIVOT figures ON {", ".join(METRICS)} INTO NAME metric VALUE value
    ), noted AS (
        SELECT kpi_date, metric, value, recorded_at FROM ops.kpi_versions
        QUALIFY row_number() OVER (PARTITION BY kpi_date, metric ORDER BY recorded_at DESC) = 1
    )
    SELECT kpi_date, metric, coalesce(made.value, 0) AS value, noted.value AS previous_value,
           noted.recorded_at AS previous_at
    FROM made FULL JOIN noted USING (kpi_date, metric)
    WHERE coalesce(made.value, 0) IS DISTINCT FROM noted.value AND coalesce(noted.recorded_at < $now, TRUE)
"""

# Events of the changed days that came in since their figures were noted.
ARRIVED = """
    CREATE OR REPLACE TEMP TABLE arrived AS
    {parts}
"""
PART = """
    SELECT '{name}' AS event_type, event_ts::DATE AS kpi_date, batch_id, ingested_at, count(*) AS events
    FROM raw.{table}
    WHERE ingested_at > $since::TIMESTAMP AND ingested_at <= $now
        AND event_ts >= $first::DATE AND event_ts < $last::DATE + INTERVAL 1 DAY
    GROUP BY ALL
"""

COUNTED = ", ".join(
    f"coalesce(sum(arrived.events) FILTER (WHERE arrived.event_type = '{each.name}'), 0) AS {each.late_column}"
    for each in EVENT_TYPES.values()
)
NOTE = f"""
    INSERT INTO ops.kpi_versions BY NAME
    SELECT changed.kpi_date, changed.metric, changed.value, changed.previous_value, $now AS recorded_at,
           changed.previous_at,
           coalesce(sum(arrived.events), 0) AS late_events, {COUNTED},
           coalesce(list(DISTINCT arrived.batch_id ORDER BY arrived.batch_id)
                    FILTER (WHERE arrived.batch_id IS NOT NULL), []) AS batches,
           $run_id AS run_id
    FROM changed
    LEFT JOIN arrived ON arrived.kpi_date = changed.kpi_date AND arrived.ingested_at > changed.previous_at
    GROUP BY ALL
"""


def note(connection: duckdb.DuckDBPyConnection, run_id: str, now: datetime) -> int:
    """Append what differs from what was noted last. `now` is up to when events are in the figures.

    Return how many figures were restated: a day's first value is noted too, and is no restatement.
    """
    connection.execute(CHANGED, {"now": now})
    [(changes, restated, since, first, last)] = connection.execute(
        "SELECT count(*), count(previous_value), min(previous_at), min(kpi_date) FILTER (WHERE previous_at IS NOT NULL), "
        "max(kpi_date) FILTER (WHERE previous_at IS NOT NULL) FROM changed"
    ).fetchall()
    if not changes:
        return 0
    parts = of_every_type(EVENT_TYPES, PART)
    bounds = {"since": since, "now": now, "first": first, "last": last}
    connection.execute(ARRIVED.format(parts=parts), bounds)
    connection.execute(NOTE, {"now": now, "run_id": run_id})
    return int(restated)
