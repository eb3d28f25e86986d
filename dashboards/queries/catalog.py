"""Queries for the catalog: tables and columns as the lake has them, and how their newest runs and checks went."""

from __future__ import annotations

from typing import Any

from dashboards.source import Reading
from searchflow import warehouse

SHOWN = ("marts", "activation", "intermediate", "staging", "raw", "ops", "seeds")
"""The schemas that people may read, the most useful first."""


def columns(reading: Reading) -> list[dict[str, Any]]:
    """Return every column of every table and view, in their order."""
    return reading.rows(
        """
        SELECT table_schema || '.' || table_name AS table_name, column_name, lower(data_type) AS type
        FROM information_schema.columns
        WHERE table_catalog = $lake AND list_contains($schemas, table_schema)
        ORDER BY list_position($schemas, table_schema), table_name, ordinal_position
        """,
        {"lake": warehouse.CATALOG, "schemas": list(SHOWN)},
    )


def runs(reading: Reading) -> dict[str, dict[str, Any]]:
    """Return model -> when it was last made, and how many rows its newest run wrote."""
    rows = reading.rows(
        """
        SELECT model, max(started_at) AS made, arg_max(rows, started_at)::BIGINT AS rows FROM ops.model_runs
        WHERE status = 'succeeded' AND environment = 'prod' GROUP BY model
        """
    )
    return {row["model"]: row for row in rows}


def checks(reading: Reading, table: str) -> list[dict[str, Any]]:
    """Return the newest run of a table's checks, what did not pass first."""
    return reading.rows(
        """
        SELECT outcome, severity, column_name, sentence, observed, unexpected_count, checked_at
        FROM ops.validation_results
        WHERE suite = $table AND run_id = (
            SELECT arg_max(run_id, (checked_at, run_id)) FROM ops.validation_results WHERE suite = $table)
        ORDER BY list_position(['error', 'fail', 'quarantine', 'warn', 'pass'], outcome), expectation
        """,
        {"table": table},
    )
