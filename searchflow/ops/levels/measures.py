"""Measures: what can be measured. Each measure is one query over all its targets, or a fact that was looked up
beforehand.

A query returns (target, value). Null means that the value is not known yet: nothing ran, or there is too little to
judge by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import duckdb

from searchflow.ops.levels.declaration import Level
from searchflow.ops.views import sync_latency
from searchflow.settings import ROOT

LEAST_EVENTS = 100
"""The fewest events by which a share is judged: one broken line of five is no trend."""
LEAST_RUNS = 5
USUALLY = 0.95
"""The quantile by which durations and latencies are judged: 19 of 20."""
MODEL_SCHEMAS = ("marts", "activation")


@dataclass(frozen=True)
class Facts:
    """Facts that are not in the lake: the state of servers by name, the seconds that the oldest entry waits by event
    type, and inputs that the accounting identity misses.
    """

    services: Mapping[str, str] = field(default_factory=dict)
    lag: Mapping[str, float] = field(default_factory=dict)
    unaccounted: int | None = None


# Commits of the window, by the transformation that took them: a mart holds what was taken before it was last made. What was
# taken later is missing from the moment on at which the mart's own schedule makes it again: one is made once a month.
_COMMITS = """
    WITH seen AS (
        SELECT batch_id, min(seen_at) AS seen_at FROM ops.transformed_batches
        WHERE environment = 'prod' AND seen_at >= $since GROUP BY batch_id
    ), commits AS (
        SELECT seen.seen_at, min(batches.committed_at) AS oldest, sum(batches.stored) AS stored
        FROM ops.ingestion_batches AS batches LEFT JOIN seen ON seen.batch_id = batches.batch_id
        WHERE batches.stored > 0 AND batches.committed_at >= $since AND batches.committed_at <= $until
        GROUP BY seen.seen_at
    ), tables AS (SELECT unnest($tables::VARCHAR[]) AS target), made AS (
        SELECT model AS target, max(started_at) AS made_at, arg_max(due_at, started_at) AS due_at FROM ops.model_runs
        WHERE status = 'succeeded' AND environment = 'prod' GROUP BY model
    ), known AS (
        SELECT tables.target, made.made_at, commits.stored,
               greatest(commits.oldest, CASE WHEN commits.seen_at > made.made_at THEN made.due_at END) AS oldest,
               coalesce(commits.seen_at <= made.made_at OR (commits.seen_at > made.made_at AND made.due_at > $until), FALSE)
                   AS inside
        FROM tables LEFT JOIN made ON made.target = tables.target LEFT JOIN commits ON TRUE
    )"""

QUERIES: dict[str, str] = {
    "freshness": f"""{_COMMITS}
        SELECT target, CASE
            WHEN count(oldest) FILTER (WHERE NOT inside) > 0
                THEN date_diff('millisecond', min(oldest) FILTER (WHERE NOT inside), $now) / 1000.0
            WHEN max(made_at) IS NOT NULL THEN 0 END AS value
        FROM known GROUP BY target""",
    "completeness": f"""{_COMMITS}
        SELECT target, coalesce(sum(stored) FILTER (WHERE inside), 0) / nullif(sum(stored), 0) AS value
        FROM known GROUP BY target""",
    "dead_letter_share": f"""
        SELECT 'all events' AS target, CASE WHEN sum(received) >= {LEAST_EVENTS}
            THEN sum(dead_letters) / sum(received) END AS value
        FROM ops.events_per_minute WHERE minute >= $since AND minute <= $now""",
    "events_per_minute": """
        SELECT event_type AS target, sum(received) / (date_diff('second', $since, $now) / 60.0) AS value
        FROM ops.events_per_minute WHERE minute >= $since AND minute <= $now GROUP BY event_type""",
    "sync_latency": f"""
        SELECT sync AS target, quantile_cont(
            coalesce(latency_s, date_diff('millisecond', event_at, $now) / 1000.0), {USUALLY}) AS value
        FROM ({sync_latency("$since")}) WHERE stored_at <= $now GROUP BY sync""",
    "pass_rate": """
        WITH newest AS (
            SELECT suite, checks, held FROM ops.pass_rates WHERE checked_at >= $since AND checked_at <= $now
            QUALIFY row_number() OVER (PARTITION BY suite ORDER BY checked_at DESC, run_id DESC) = 1
        )
        SELECT split_part(suite, '.', 1) AS target, sum(held) / sum(checks) AS value FROM newest GROUP BY target""",
    "failing": """
        SELECT kind || ' ' || name AS target, (NOT arg_max(ok, started_at))::INTEGER AS value
        FROM ops.runs WHERE kind <> 'suite' AND started_at >= $since AND started_at <= $now GROUP BY target""",
    "error_rate": f"""
        SELECT kind || ' ' || name AS target,
               CASE WHEN count(*) >= {LEAST_RUNS} THEN count(*) FILTER (WHERE NOT ok) / count(*) END AS value
        FROM ops.runs WHERE kind <> 'suite' AND started_at >= $since AND started_at <= $now GROUP BY target""",
    "duration": f"""
        SELECT kind || ' ' || name AS target, quantile_cont(duration_s, {USUALLY}) AS value
        FROM ops.runs WHERE duration_s IS NOT NULL AND started_at >= $since AND started_at <= $now GROUP BY target""",
}


def measure(
    connection: duckdb.DuckDBPyConnection | None, level: Level, facts: Facts, now: datetime
) -> dict[str, float | None]:
    """Return target -> value. Without a connection, only facts are known."""
    if level.measure == "availability":
        known = {name: said for name, said in facts.services.items() if said != "not running"}
        return {name: float(said == "up") for name, said in known.items()}
    if level.measure == "unaccounted":
        return {"all events": None if facts.unaccounted is None else float(facts.unaccounted)}
    if level.measure == "ingestion_lag":
        return dict(facts.lag)
    if connection is None:
        return {}
    plain = now.replace(tzinfo=None)
    query = QUERIES[level.measure]
    given: dict[str, Any] = {
        "now": plain,
        "since": plain - level.window,
        "until": plain - level.patience,
        "tables": declared_tables(),
    }
    used = {name: value for name, value in given.items() if f"${name}" in query}
    found = connection.execute(query, used).fetchall()
    return {target: None if value is None else float(value) for target, value in found if target is not None}


def declared_tables() -> list[str]:
    """Return marts and activation models by their files: one that was never made is behind, not absent."""
    return [
        f"{schema}.{path.stem}"
        for schema in MODEL_SCHEMAS
        for path in sorted((ROOT / "models" / schema).glob("*.*"))
        if path.suffix in (".sql", ".py") and not path.stem.startswith("_")
    ]
