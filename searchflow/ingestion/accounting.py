"""The accounting identity: received = stored + exact duplicates + dead letters, computed from what was really written."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import duckdb

from searchflow.event_types import EVENT_TYPES
from searchflow.fetching import first_row

FEEDS = ("ad_spend", "user_profiles")
STORED = " + ".join(
    f"(SELECT count(*) FROM raw.{table})" for table in (*(each.table for each in EVENT_TYPES.values()), *FEEDS)
)
BOOKS = f"""
    SELECT coalesce(sum(received) FILTER (WHERE shard <> 'replay'), 0),
           coalesce(sum(stored) FILTER (WHERE shard <> 'replay'), 0),
           coalesce(sum(duplicates) FILTER (WHERE shard <> 'replay'), 0),
           coalesce(sum(dead_letters) FILTER (WHERE shard <> 'replay'), 0),
           {STORED}, (SELECT count(*) FROM raw.dead_letters),
           coalesce(sum(stored) FILTER (WHERE shard = 'replay'), 0),
           (SELECT coalesce(sum(rows), 0) FROM ops.erased_rows)
    FROM ops.ingestion_batches
"""
"""The columns of `Accounting`, in order."""


@dataclass(frozen=True)
class Accounting:
    """Totals of all commits, beside the number of rows that are really in the raw tables."""

    received: int
    stored: int
    duplicates: int
    dead_letters: int
    rows_stored: int
    rows_dead_letters: int
    replayed: int
    erased: int = 0
    """Rows that were stored and then removed with a forgotten person. Dead letters without their bytes still count as
    dead letters.
    """

    @property
    def holds(self) -> bool:
        """Return True when the identity holds, by the batches' counts and by the rows themselves."""
        return (
            self.received == self.stored + self.duplicates + self.dead_letters
            and self.rows_stored + self.erased == self.stored + self.replayed
            and self.rows_dead_letters == self.dead_letters
        )

    def sentence(self) -> str:
        """Return the identity as a sentence for people."""
        verb = "=" if self.received == self.stored + self.duplicates + self.dead_letters else "≠"
        return (
            f"received {self.received:,} {verb} stored {self.stored:,} + duplicates {self.duplicates:,} "
            f"+ dead letters {self.dead_letters:,}"
        )

    def as_dict(self) -> dict[str, int | bool]:
        """Return the totals as a dictionary for `--json`."""
        return {**asdict(self), "holds": self.holds}


def accounting(connection: duckdb.DuckDBPyConnection) -> Accounting:
    """Sum the counts of all commits and count the rows, both in one snapshot of the lake.

    A statement reads one snapshot, also of rows that are still in the catalog. Two statements would read two, and what
    a worker commits in between would look lost.
    """
    row = first_row(connection.execute(BOOKS))
    assert row is not None
    return Accounting(*(int(value) for value in row))
