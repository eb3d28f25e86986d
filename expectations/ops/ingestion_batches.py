"""Suite of the books of ingestion: what was received must be stored, a duplicate, or a dead letter. Always."""

from expectations.suite import (
    Suite,
    aggregate,
    between,
    critical,
    has_columns,
    never,
    none_where,
    not_ahead,
    unique,
    warning,
)
from searchflow.event_types import EVENT_TYPES
from searchflow.ingestion.accounting import FEEDS

RAW_ROWS = " UNION ALL ".join(
    f"SELECT batch_id, 1 AS is_row, 0 AS is_letter FROM lake.raw.{table}"
    for table in (*(each.table for each in EVENT_TYPES.values()), *FEEDS)
)
# A replay stores rows that were received, and refused, before; rows of a forgotten person were there.
BOOKS = f"""
    WITH booked AS (
      SELECT batch_id, sum(stored) AS stored, sum(dead_letters) AS letters FROM {{batch}} GROUP BY batch_id
    ), found AS (
      SELECT batch_id, sum(is_row) AS stored, sum(is_letter) AS letters FROM (
        {RAW_ROWS} UNION ALL SELECT batch_id, 0, 1 FROM lake.raw.dead_letters
        UNION ALL SELECT batch_id, rows, 0 FROM lake.ops.erased_rows
      ) GROUP BY batch_id
    ), compared AS (
      SELECT
        coalesce(booked.stored, 0) AS booked_rows, coalesce(found.stored, 0) AS found_rows,
        coalesce(booked.letters, 0) AS booked_letters, coalesce(found.letters, 0) AS found_letters
      FROM booked FULL JOIN found USING (batch_id)
    )
    SELECT
      count(*) AS unexpected, sum(booked_rows) AS booked_rows, sum(found_rows) AS found_rows,
      sum(booked_letters) AS booked_refused, sum(found_letters) AS found_refused
    FROM compared WHERE booked_rows <> found_rows OR booked_letters <> found_letters HAVING count(*) > 0"""

SUITE = Suite(
    table="ops.ingestion_batches",
    group="raw",
    title="The books of ingestion",
    numbers="all of them: whether anything was lost, or counted twice, on the way in",
    key=("batch_id",),
    checks=(
        critical("No delivery is booked twice.", unique("batch_id")),
        critical(
            "Received = stored + exact duplicates + refused, in every delivery.",
            none_where(
                "identity_holds",
                "shard <> 'replay' AND received <> stored + duplicates + dead_letters",
            ),
        ),
        critical(
            "What every delivery stored and refused is in the raw tables, no more and no less.",
            never("rows_are_there", BOOKS),
        ),
        warning(
            "At most 5 % of what was received is refused.",
            aggregate(
                "few_dead_letters",
                broken="sum(dead_letters) > 0.05 * sum(received)",
                refused="sum(dead_letters)",
                percent="round(100.0 * sum(dead_letters) / sum(received), 1)",
            ),
        ),
        warning(
            "At most 20 % of what is stored arrived late.",
            aggregate(
                "few_late_events",
                broken="sum(late) FILTER (WHERE shard <> 'replay') > 0.2 * sum(stored)",
                late="sum(late) FILTER (WHERE shard <> 'replay')",
                percent="round(100.0 * sum(late) FILTER (WHERE shard <> 'replay') / sum(stored), 1)",
            ),
        ),
        critical(
            "The books have the agreed columns.",
            has_columns(
                "batch_id", "shard", "source", "committed_at", "received", "stored", "duplicates", "dead_letters"
            ),
        ),
        critical("No delivery counts less than nothing.", between("received", low=0)),
        critical("No delivery was booked in the future.", not_ahead("committed_at", hours=1)),
    ),
)
