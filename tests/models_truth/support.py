"""What tests of the models' truth share: events into raw tables, and tables as rows that can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import duckdb

from searchflow.ops import record
from tests.models_truth.histories import Event, Spend
from tests.reference.events import utc

Row = tuple[Any, ...]
KINDS = ("search", "click", "conversion")


def store(connection: duckdb.DuckDBPyConnection, events: Sequence[Event], batch: str, committed_at: datetime) -> None:
    """What a commit of ingestion leaves behind; events whose id is stored already are dropped, as ingestion does."""
    for kind in KINDS:
        table = f"raw.{kind}_events"
        known = {row[0] for row in connection.execute(f"SELECT event_id FROM {table}").fetchall()}
        rows = {}
        for event in events:
            fields = event.fields
            if fields["event_type"] == kind and fields["event_id"] not in known:
                rows.setdefault(fields["event_id"], (event, fields))
        if not rows:
            continue
        stamps = [utc(fields["timestamp"]) for _, fields in rows.values()]
        connection.executemany(
            f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, 1, ?, 'test', '1', ?)",
            [
                (
                    fields["event_id"],
                    stamp,
                    fields.get("user_id"),
                    fields["session_id"],
                    event.document,
                    event.ingested_at,
                    batch,
                )
                for (event, fields), stamp in zip(rows.values(), stamps, strict=True)
            ],
        )
        record.rows(
            connection,
            "ops.ingestion_batches",
            [
                {
                    "batch_id": batch,
                    "shard": kind,
                    "event_type": kind,
                    "committed_at": committed_at,
                    "stored": len(rows),
                    "received": len(rows),
                    "late": 0,
                    "first_event_ts": min(stamps),
                    "last_event_ts": max(stamps),
                    "touched_days": sorted({stamp.date() for stamp in stamps}),
                }
            ],
        )


def store_spend(
    connection: duckdb.DuckDBPyConnection, spend: Sequence[Spend], ingested_at: datetime, batch: str = "spend"
) -> None:
    """One batch of the daily feed."""
    for row in spend:
        connection.execute(
            "INSERT INTO raw.ad_spend VALUES (?, ?, ?, ?, ?, 0, 0, '{}', ?, 'test', '1', ?)",
            [row.day, row.source, row.campaign, row.currency, row.cost, ingested_at, batch],
        )
    if spend:
        about = {"batch_id": batch, "shard": "file", "event_type": "ad_spend", "committed_at": ingested_at}
        counts = {"stored": len(spend), "received": len(spend), "late": 0, "touched_days": []}
        record.rows(connection, "ops.ingestion_batches", [about | counts])


def clear(connection: duckdb.DuckDBPyConnection) -> None:
    """Empty the tables that hold state from one example to the next."""
    for table in (
        *(f"raw.{kind}_events" for kind in KINDS),
        "raw.ad_spend",
        "ops.ingestion_batches",
        "ops.transformed_batches",
        "ops.erased_days",
        "ops.erased_rows",
    ):
        connection.execute(f"DELETE FROM {table}")


def table(connection: duckdb.DuckDBPyConnection, name: str, columns: Iterable[str], where: str = "TRUE") -> list[Row]:
    """Rows of a model, comparable."""
    quoted = ", ".join(f'"{column}"' for column in columns)
    return comparable(connection.execute(f"SELECT {quoted} FROM {name} WHERE {where}").fetchall())


def expected(rows: Iterable[dict[str, Any]], columns: Iterable[str]) -> list[Row]:
    """Rows of the reference, comparable."""
    names = list(columns)
    return comparable([tuple(row[name] for name in names) for row in rows])


def comparable(rows: Iterable[Row]) -> list[Row]:
    """Sorted; money in cents, fractions to nine places."""
    return sorted((tuple(_plain(value) for value in row) for row in rows), key=repr)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value * 100)
    return round(value, 9) + 0.0 if isinstance(value, float) else value
