"""Quarantine: the rows that break a critical check, listed completely by their keys in `ops.quarantined_rows`.

Great Expectations counts broken rows and shows at most 200; here one query names them all, on the snapshot that was
checked. Nothing of a row but its key is written. input = passed + quarantined, each counted by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from expectations.moments import Fill
from expectations.suite import Check, Suite
from searchflow.fetching import first_row

MOST_ROWS = 0.05
"""The largest share of rows that may be quarantined. With a larger share of broken rows the table itself fails."""
ALWAYS = 1
"""The number of rows that may be quarantined however small the table is, unless they are all of it."""

PART = 100_000
"""The number of keys written at once."""


@dataclass(frozen=True)
class Split:
    """The rows of a table: those that passed, and those that broke a critical check."""

    rows_in: int
    passed: int
    quarantined: int

    @property
    def too_many(self) -> bool:
        """Return whether leaving rows out would leave out the table."""
        return self.quarantined > max(ALWAYS, MOST_ROWS * self.rows_in) or self.passed == 0 < self.quarantined


def row_checks(suite: Suite) -> list[Check]:
    """Return the critical checks that say which rows break them; none where rows have no key to list."""
    return [check for check in suite.checks if suite.key and check.severity == "critical" and check.rule.broken]


def split(
    pinned: duckdb.DuckDBPyConnection,
    connection: duckdb.DuckDBPyConnection,
    suite: Suite,
    broken: Sequence[Check],
    *,
    fill: Fill,
    run_id: str,
    now: datetime,
) -> Split:
    """List the rows that break any of `broken`, the checks of this run that did not hold; count all rows.

    Reads through `pinned` (the snapshot that was checked) and writes through `connection`, a part at a time.
    """
    if not broken:
        rows_in, passed = _count(pinned, f"SELECT count(*), count(*) FROM {suite.table}")
        return Split(rows_in, passed, 0)
    judged = f"SELECT {_key(suite)} AS key, {_broken_by(broken, fill)} AS broken_by FROM {suite.table} AS checked"
    rows_in, passed = _count(pinned, f"SELECT count(*), count(*) FILTER (len(broken_by) = 0) FROM ({judged})")
    found = pinned.execute(f"SELECT key, broken_by FROM ({judged}) WHERE len(broken_by) > 0")
    listed = 0
    for part in found.to_arrow_reader(PART):
        listed += part.num_rows
        _append(connection, part, suite, run_id, now)
    return Split(rows_in, passed, listed)


def _append(
    connection: duckdb.DuckDBPyConnection, part: pa.RecordBatch, suite: Suite, run_id: str, now: datetime
) -> None:
    connection.register("quarantined_part", pa.Table.from_batches([part]))
    try:
        connection.execute(
            "INSERT INTO ops.quarantined_rows (run_id, suite, key, expectations, quarantined_at) "
            "SELECT $run_id, $suite, key, broken_by, $now FROM quarantined_part",
            {"run_id": run_id, "suite": suite.name, "now": now.astimezone(UTC).replace(tzinfo=None)},
        )
    finally:
        connection.unregister("quarantined_part")


def _key(suite: Suite) -> str:
    """Return SQL for the key as a JSON object of texts: {"user_id": "u-1"}."""
    packed = ", ".join(f"{column} := checked.{column}::VARCHAR" for column in suite.key)
    return f"to_json(struct_pack({packed}))::VARCHAR"


def _broken_by(broken: Sequence[Check], fill: Fill) -> str:
    """Return SQL for a list with the names of the checks that a row breaks."""
    cases = ", ".join(f"CASE WHEN {fill(check.rule.broken or 'FALSE')} THEN '{check.name}' END" for check in broken)
    return f"list_filter([{cases}], name -> name IS NOT NULL)"


def _count(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, int]:
    row = first_row(connection.execute(sql))
    assert row is not None
    return int(row[0]), int(row[1])
