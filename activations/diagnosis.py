"""The cause of a key's drift: a lost write, an edit or a delete by another program or person, or a row no sync sent.

A destination that lost a write (a restart without its last second, a replica that took over, a restored backup) goes
back as a whole: every row that a batch wrote is again as it was before the batch, or all of them are gone. People and
other programs change single rows. So a batch counts as lost when all of its rows are so and no reconciliation has seen
any of them since; every other difference is foreign. (A person who deletes exactly the rows of one unseen batch looks
like a lost write: nothing in the data could tell them apart.)
"""

from __future__ import annotations

from enum import StrEnum

import duckdb

from activations.base import KEY, KIND, Kind
from activations.declaration import Sync
from activations.ledger import Ledger


class Cause(StrEnum):
    """The event that befell a key, as far as it can be known."""

    LOST_WRITE = "lost_write"
    FOREIGN_EDIT = "foreign_edit"
    FOREIGN_DELETE = "foreign_delete"
    FOREIGN_ROW = "foreign_row"


def diagnose(connection: duckdb.DuckDBPyConnection, sync: Sync, ledger: Ledger) -> list[int]:
    """Fill `causes` (key, cause) for every key of `drift`. Return the sequences of batches that were lost."""
    keys = connection.execute(f"SELECT {KEY} AS key FROM temp.drift").to_arrow_table()
    connection.register("last_writes", ledger.last_writes(sync, keys))
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE rolled_back AS
        SELECT d.{KEY}, w.sequence::BIGINT AS sequence, w.kind = '{Kind.REFRESHED}' AS refreshed,
            d.{KIND} = 'missing' AS absent,
            d.found_hash IS NOT DISTINCT FROM w.before_hash::UUID AS as_before
        FROM temp.drift d JOIN last_writes w ON w.key = d.{KEY}
        WHERE (d.{KIND} = 'unexpected') = (w.kind = '{Kind.REMOVED}')
    """)
    connection.unregister("last_writes")
    lost = _lost_batches(connection, sync, ledger)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE causes AS
        SELECT d.{KEY}, CASE
            WHEN list_contains({lost!r}::BIGINT[], r.sequence) THEN '{Cause.LOST_WRITE}'
            WHEN d.{KIND} = 'missing' THEN '{Cause.FOREIGN_DELETE}'
            WHEN d.{KIND} = 'different' THEN '{Cause.FOREIGN_EDIT}'
            ELSE '{Cause.FOREIGN_ROW}' END AS cause
        FROM temp.drift d LEFT JOIN temp.rolled_back r USING ({KEY})
    """)
    return lost


def _lost_batches(connection: duckdb.DuckDBPyConnection, sync: Sync, ledger: Ledger) -> list[int]:
    # A refreshed row was the same before: it cannot say whether its batch is there.
    suspects = connection.execute(
        "SELECT sequence, count(*) FILTER (absent), count(*) FILTER (as_before) FROM temp.rolled_back "
        "WHERE NOT refreshed GROUP BY sequence"
    ).fetchall()
    written = ledger.unseen_rows(sync, [sequence for sequence, _, _ in suspects])
    return sorted(sequence for sequence, absent, as_before in suspects if written.get(sequence) in (absent, as_before))
