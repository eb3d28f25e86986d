"""The accounting identity: received = stored + exact duplicates + dead letters, from what was really written."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import duckdb

from searchflow.streams import EVENT_TYPES


@dataclass(frozen=True)
class Accounting:
    """Totals of all commits, beside the rows that are really in the raw tables."""

    received: int
    stored: int
    duplicates: int
    dead_letters: int
    rows_stored: int
    rows_dead_letters: int
    replayed: int
    erased: int = 0
    """Rows that were stored and left with a forgotten person; letters without their bytes are still letters."""

    @property
    def holds(self) -> bool:
        """True when the identity holds, by the batches' counts and by the rows themselves."""
        return (
            self.received == self.stored + self.duplicates + self.dead_letters
            and self.rows_stored + self.erased == self.stored + self.replayed
            and self.rows_dead_letters == self.dead_letters
        )

    def sentence(self) -> str:
        """For people."""
        verb = "=" if self.received == self.stored + self.duplicates + self.dead_letters else "≠"
        return (
            f"received {self.received:,} {verb} stored {self.stored:,} + duplicates {self.duplicates:,} "
            f"+ dead letters {self.dead_letters:,}"
        )

    def as_dict(self) -> dict[str, int | bool]:
        """For `--json`."""
        return {**asdict(self), "holds": self.holds}


def accounting(connection: duckdb.DuckDBPyConnection) -> Accounting:
    """Sum over all commits and count the rows."""
    totals = connection.execute(
        "SELECT coalesce(sum(received), 0), coalesce(sum(stored), 0), coalesce(sum(duplicates), 0), "
        "coalesce(sum(dead_letters), 0) FROM ops.ingestion_batches WHERE shard <> 'replay'"
    ).fetchone()
    assert totals is not None
    tables = " + ".join(f"(SELECT count(*) FROM raw.{event_type}_events)" for event_type in EVENT_TYPES)
    feeds = " + ".join(f"(SELECT count(*) FROM raw.{table})" for table in ("ad_spend", "user_profiles"))
    rows = connection.execute(
        f"SELECT {tables} + {feeds}, (SELECT count(*) FROM raw.dead_letters), "
        "(SELECT coalesce(sum(stored), 0) FROM ops.ingestion_batches WHERE shard = 'replay'), "
        "(SELECT coalesce(sum(rows), 0) FROM ops.erased_rows)"
    ).fetchone()
    assert rows is not None
    return Accounting(*(int(value) for value in (*totals, *rows)))
