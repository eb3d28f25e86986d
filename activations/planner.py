"""The plan of a sync: what the model says now against what was acknowledged, compared as sets in DuckDB.

Nothing is compared row by row in Python, and only rows that differ are read a second time: a sync with nothing to do
scans two columns of the ledger and hashes the model once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import duckdb
import pyarrow as pa

from activations import holdout, quarantine
from activations.base import DOCUMENT, HASH, KEY, KIND, Batch, Kind, Operation, Rejection, utc
from activations.declaration import Sync
from activations.shape import PROBLEM, payload_columns, shaped
from activations.sync_files import wrong
from searchflow.errors import UsageError
from searchflow.fetching import first_row
from searchflow.quoting import literal, quoted

MASK = "•••"
ROWS_AT_ONCE = 50_000
"""The rows of a portion, about: batches are cut from fetched portions, because a query per batch would cost more."""
IN_DOUBT = """
SELECT DISTINCT k.key FROM activation.in_flight i CROSS JOIN unnest(i.keys) AS k (key) WHERE i.sync = {sync}
    AND NOT EXISTS (SELECT FROM activation.batches b
        WHERE b.sync = i.sync AND b.sequence = i.sequence AND b.run_id = i.run_id)
    AND NOT EXISTS (SELECT FROM activation.sent s
        WHERE s.sync = i.sync AND s.key = k.key AND s.sequence >= i.sequence)
    AND NOT EXISTS (SELECT FROM activation.row_log l
        WHERE l.key = k.key AND l.sync = i.sync AND l.sequence >= i.sequence)"""
"""The query for keys whose batch has no record; unless a later run has recorded them since."""
UPSERTS = (Kind.ADDED, Kind.CHANGED, Kind.REFRESHED, Kind.REPAIRED, Kind.RESTORED)


@dataclass(frozen=True)
class SampleRow:
    """A row that would be sent, for people: personal fields are masked."""

    kind: str
    key: str
    before: dict[str, object] | None
    after: dict[str, object] | None


@dataclass(frozen=True)
class Plan:
    """The plan of a sync: what it would do. Counts are keys: users, messages."""

    sync: str
    added: int = 0
    changed: int = 0
    removed: int = 0
    refreshed: int = 0  # unchanged, but sent again before the destination lets it expire
    unchanged: int = 0  # with the refreshed
    held: int = 0  # rejected before, and the same since
    invalid: int = 0  # cannot be sent: the row breaks the sync's own rules
    source_rows: int = 0
    sent_rows: int = 0  # what the destination holds, as far as it told us
    repeated_keys: int = 0
    quarantined: int = 0  # rows of the model in quarantine
    held_out: int = 0  # rows of users who are kept out to see what the sync changes
    on_hold: str = ""  # why, when a run was undone
    jumps: tuple[str, ...] = ()  # groups whose size is unusual
    sizes: Mapping[str, int] = field(default_factory=dict, repr=False)  # of all groups, now
    blocked: tuple[str, ...] = ()
    gate: tuple[str, ...] = ()  # suites that close the gate
    stale: tuple[str, ...] = ()  # suites that have not seen what would be sent
    samples: tuple[SampleRow, ...] = field(default=(), repr=False)

    @property
    def to_send(self) -> int:
        """Return how many rows a run would deliver."""
        return self.added + self.changed + self.refreshed + self.removed


def check_model(connection: duckdb.DuckDBPyConnection, sync: Sync) -> None:
    """Raise when the model is not there, or has not the columns that the sync names."""
    try:
        described = connection.execute(f"DESCRIBE {quoted(sync.model)}").fetchall()
    except duckdb.CatalogException:
        raise UsageError(
            f"The sync {sync.name} reads {sync.model}, which is not there yet. Run `searchflow transform` first."
        ) from None
    columns = {row[0] for row in described}
    for index, each in enumerate(sync.fields):
        if each.source not in columns:
            named = "column" if each.column else "name"
            has = f"{sync.model} has no column {each.source!r}; it has {', '.join(sorted(columns))}"
            raise wrong(sync, ("fields", index, named), has)


def compare(connection: duckdb.DuckDBPyConnection, sync: Sync, *, now: datetime, retry_rejected: bool = False) -> Plan:
    """Fill the temporary tables `current_rows`, `sent_rows` and `differences`, and count."""
    check_model(connection, sync)
    read_sent(connection, sync)
    quarantined, held_out = read_current(connection, sync)
    _write_differences(connection, sync, now, retry_rejected)
    kinds = dict(connection.execute(f"SELECT {KIND}, count(*) FROM temp.differences GROUP BY ALL").fetchall())
    facts = first_row(
        connection.execute(f"""
        SELECT (SELECT count(*) FROM temp.current_rows), (SELECT count(*) FROM temp.sent_rows WHERE known),
            (SELECT count({KEY}) - count(DISTINCT {KEY}) FROM temp.current_rows WHERE {KEY} <> '')
    """)
    )
    assert facts is not None
    different = sum(kinds.get(name, 0) for name in (Kind.ADDED, Kind.CHANGED, "held", "invalid"))
    return Plan(
        sync.name,
        **{kind.value: kinds.get(kind, 0) for kind in (Kind.ADDED, Kind.CHANGED, Kind.REMOVED, Kind.REFRESHED)},
        unchanged=facts[0] - different,
        held=kinds.get("held", 0),
        invalid=kinds.get("invalid", 0),
        source_rows=facts[0],
        sent_rows=facts[1],
        repeated_keys=facts[2],
        quarantined=quarantined,
        held_out=held_out,
    )


def read_sent(connection: duckdb.DuckDBPyConnection, sync: Sync) -> None:
    """Create `sent_rows`: what was acknowledged.

    Of keys that a killed run had set out to write and has no record of, no one knows what the destination holds: their
    hash is null, and those that were never acknowledged are not `known`.
    """
    unknown = literal(IN_DOUBT.format(sync=literal(sync.name)))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE in_doubt AS SELECT key FROM postgres_query('ledger', {unknown})")
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE sent_rows AS
        SELECT key, hash, sent_at, true AS known FROM ledger.activation.sent WHERE sync = {literal(sync.name)}
    """)
    if first_row(connection.execute("SELECT 1 FROM temp.in_doubt LIMIT 1")):
        connection.execute("UPDATE temp.sent_rows SET hash = NULL WHERE key IN (SELECT key FROM temp.in_doubt)")
        connection.execute("""
            INSERT INTO temp.sent_rows SELECT key, NULL, NULL, false FROM temp.in_doubt
            WHERE key NOT IN (SELECT key FROM temp.sent_rows)""")


def read_current(connection: duckdb.DuckDBPyConnection, sync: Sync) -> tuple[int, int]:
    """Create `current_rows`: what the model says now, without rows in quarantine or held out. Return how many those
    are."""
    quarantined = quarantine.leave_out(connection, sync)
    held_out = holdout.keep_out(connection, sync)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE current_rows AS
        SELECT {KEY}, {HASH}, {PROBLEM} FROM ({shaped(sync, quarantine.SENDABLE)})
    """)
    return quarantined, held_out


def _write_differences(connection: duckdb.DuckDBPyConnection, sync: Sync, now: datetime, retry_rejected: bool) -> None:
    wanted = ["s.key IS NULL"]
    if not sync.once:
        wanted += [f"c.{HASH} IS DISTINCT FROM s.hash", f"c.{PROBLEM} IS NOT NULL"]
    if sync.mode == "mirror":
        wanted.append(f"c.{KEY} IS NULL")
    refresh = getattr(sync.options(), "refresh_after", None)
    if isinstance(refresh, timedelta):
        wanted.append(f"s.sent_at < TIMESTAMP {literal(str(utc(now) - refresh))}")
    known_bad = f"sync = {literal(sync.name)} AND {'false' if retry_rejected else 'true'}"
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE differences AS
        WITH rejected AS (SELECT key, hash FROM ledger.activation.rejected WHERE {known_bad})
        SELECT DISTINCT ON (c.{KEY}, s.key, c.{HASH}) coalesce(c.{KEY}, s.key) AS {KEY}, c.{HASH}, c.{PROBLEM},
            CASE
                WHEN c.{KEY} IS NULL THEN '{Kind.REMOVED}'
                WHEN r.key IS NOT NULL THEN 'held'
                WHEN c.{PROBLEM} IS NOT NULL THEN 'invalid'
                WHEN s.key IS NULL OR NOT s.known THEN '{Kind.ADDED}'
                WHEN c.{HASH} IS DISTINCT FROM s.hash THEN '{Kind.CHANGED}'
                ELSE '{Kind.REFRESHED}'
            END AS {KIND}
        FROM temp.current_rows c
            FULL JOIN temp.sent_rows s ON s.key = c.{KEY}
            LEFT JOIN rejected r ON r.key = c.{KEY} AND r.hash = c.{HASH}
        WHERE ({" OR ".join(wanted)}) AND ({_is_ours(sync)})
    """)


def _is_ours(sync: Sync) -> str:
    """Return SQL for rows that only the ledger has: a mirror removes them unless in quarantine; other modes leave
    them."""
    left = f"s.key NOT IN (SELECT {KEY} FROM {quarantine.HELD_KEYS})" if sync.mode == "mirror" else "false"
    return f"c.{KEY} IS NOT NULL OR {left}"


def stage(connection: duckdb.DuckDBPyConnection, sync: Sync, source: str = quarantine.SENDABLE) -> None:
    """Fill `outgoing` and `leaving` with the rows to deliver, numbered by key, so that each run cuts equal batches."""
    kinds = ", ".join(f"'{kind}'" for kind in UPSERTS)
    columns = ", ".join(f"m.{quoted(name)}" for name in payload_columns(sync))
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE outgoing AS
        SELECT row_number() OVER (ORDER BY {KEY}) - 1 AS position, {KEY}, m.{HASH}::VARCHAR AS {HASH}, d.{KIND},
            m.{DOCUMENT}, {columns}
        FROM temp.differences d JOIN ({shaped(sync, source)}) m USING ({KEY})
        WHERE d.{KIND} IN ({kinds}) AND m.{PROBLEM} IS NULL
        ORDER BY position
    """)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE leaving AS
        SELECT row_number() OVER (ORDER BY {KEY}) - 1 AS position, {KEY}, '' AS {HASH}, {KIND}
        FROM temp.differences WHERE {KIND} = '{Kind.REMOVED}' ORDER BY position
    """)


def batches(
    connection: duckdb.DuckDBPyConnection,
    sync: Sync,
    now: datetime,
    sequence: int,
    keep: frozenset[str] = frozenset(),
    run_id: str = "",
) -> Iterator[Batch]:
    """Yield the staged rows: first what is new or changed, then who left. `sequence` is the number of the first batch.
    Yield the staged rows: first what is new or changed, then who left. `sequence` is the number of the first batch."""
    send = sync.operation
    for table, operation in (("outgoing", send), ("leaving", Operation.REMOVE)):
        first, many = 0, sync.batch_size * max(1, ROWS_AT_ONCE // sync.batch_size)
        while (rows := _rows(connection, table, first, many)).num_rows:
            for start in range(0, rows.num_rows, sync.batch_size):
                yield Batch(operation, rows.slice(start, sync.batch_size), now, sequence, keep, run_id)
                sequence += 1
            first += many


def _rows(connection: duckdb.DuckDBPyConnection, table: str, first: int, count: int) -> pa.Table:
    return connection.execute(
        f"SELECT * EXCLUDE (position) FROM temp.{table} WHERE position >= ? AND position < ? ORDER BY position",
        [first, first + count],
    ).to_arrow_table()


def in_flight(connection: duckdb.DuckDBPyConnection, sync: Sync, sequence: int) -> pa.Table:
    """Return `sequence` and `keys` (PostgreSQL's text for an array) of each batch that `batches` would yield."""
    size = sync.batch_size
    escaped = f"""replace(replace({KEY}, '\\', '\\\\'), '"', '\\"')"""
    keys = f"""'{{"' || string_agg({escaped}, '","' ORDER BY position) || '"}}'"""
    return connection.execute(f"""
        SELECT {sequence} + position // {size} AS sequence, {keys} AS keys FROM temp.outgoing GROUP BY 1
        UNION ALL SELECT {sequence} + position // {size} AS sequence, {keys} AS keys
        FROM (SELECT {KEY}, position + (SELECT (count(*) + {size} - 1) // {size} * {size} FROM temp.outgoing) AS position
            FROM temp.leaving) GROUP BY 1 ORDER BY 1
    """).to_arrow_table()


def staged(connection: duckdb.DuckDBPyConnection) -> int:
    """Return how many rows are staged."""
    row = first_row(
        connection.execute("SELECT (SELECT count(*) FROM temp.outgoing) + (SELECT count(*) FROM temp.leaving)")
    )
    assert row is not None
    return int(row[0])


def invalid_rows(connection: duckdb.DuckDBPyConnection) -> tuple[list[Rejection], list[str]]:
    """Return rows that break the sync's own rules, and their hashes."""
    rows = connection.execute(
        f"SELECT {KEY}, {PROBLEM}, {HASH}::VARCHAR FROM temp.differences WHERE {KIND} = 'invalid' ORDER BY ALL"
    ).fetchall()
    return [Rejection(key, reason) for key, reason, _ in rows], [row[2] for row in rows]


def sample_rows(
    connection: duckdb.DuckDBPyConnection, sync: Sync, before: dict[str, str | None], count: int
) -> list[SampleRow]:
    """Return up to `count` staged rows of each kind; `before` holds what was sent of them."""
    return [
        SampleRow(kind, key, masked(before.get(key), sync), masked(document, sync))
        for kind, key, document in _sample(connection, count)
    ]


def sample_keys(connection: duckdb.DuckDBPyConnection, count: int) -> list[str]:
    """Return the keys of the samples."""
    return [key for _, key, _ in _sample(connection, count)]


def _sample(connection: duckdb.DuckDBPyConnection, count: int) -> list[tuple[str, str, str | None]]:
    return connection.execute(
        f"""
        SELECT {KIND}, {KEY}, {DOCUMENT} FROM (
            SELECT {KIND}, {KEY}, {DOCUMENT} FROM temp.outgoing
            UNION ALL SELECT {KIND}, {KEY}, NULL FROM temp.leaving)
        QUALIFY row_number() OVER (PARTITION BY {KIND} ORDER BY {KEY}) <= ? ORDER BY ALL
        """,
        [count],
    ).fetchall()


def masked(document: str | None, sync: Sync) -> dict[str, object] | None:
    """Return a row for people and logs, with personal fields masked."""
    if document is None:
        return None
    row: dict[str, object] = json.loads(document)
    return {name: MASK if name in sync.personal and value is not None else value for name, value in row.items()}


def masked_texts(documents: Sequence[str], sync: Sync) -> list[str]:
    """Return rows for people and logs as JSON texts, with personal fields masked."""
    return [json.dumps(masked(document, sync), ensure_ascii=False) for document in documents]
