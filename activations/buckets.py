"""Digests by bucket of keys: two sides that hold the same million rows find out with a thousand numbers each.

`Destination.digests` says how a bucket and a digest are made; the ledger makes its own here, and only buckets that
differ are read on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from psycopg import sql

BUCKETS = 1024
"""The number of parts into which keys are cut: of a million rows, each part has a thousand."""
DENSE = BUCKETS // 2
"""The number of differing buckets above which one whole read is cheaper than many parts."""


@dataclass(frozen=True)
class Scope:
    """The part of a destination to read. `buckets` None: all of it. `agreed`: rows in buckets that are equal on both
    sides."""

    buckets: Sequence[int] | None = None
    agreed: int = 0


def bucket(key: sql.Composable) -> sql.Composed:
    """Return the PostgreSQL expression for the bucket of a key: the first bits of its MD5."""
    bits = BUCKETS.bit_length() - 1
    return sql.SQL("('x' || left(md5({}::text), 8))::bit(32)::bit({})::int").format(key, sql.Literal(bits))


def within(key: sql.Composable, buckets: Sequence[int] | None) -> sql.Composable:
    """Return SQL that is true of a key in one of `buckets`, or of every key when there are none."""
    if buckets is None:
        return sql.SQL("true")
    return sql.SQL("{} = ANY({}::int[])").format(bucket(key), sql.Literal(list(buckets)))


def ledger_digests(sync: str) -> sql.Composed:
    """Return the query for the ledger's digests of a sync: its hashes are the documents' MD5."""
    return sql.SQL(
        "SELECT {} AS bucket, count(*) AS rows, "
        "sum(('x' || left(replace(hash::text, '-', ''), 16))::bit(64)::bigint) AS digest "
        "FROM activation.sent WHERE sync = {} GROUP BY 1"
    ).format(bucket(sql.Identifier("key")), sql.Literal(sync))


def sent_rows(sync: str, buckets: Sequence[int] | None) -> sql.Composed:
    """Return the query for what was sent: hash, row and batch of each key in some buckets, or of all."""
    return sql.SQL("SELECT key, hash, row, sequence FROM activation.sent WHERE sync = {} AND {}").format(
        sql.Literal(sync), within(sql.Identifier("key"), buckets)
    )


def scope(ours: pa.Table, theirs: pa.Table | None) -> Scope:
    """Return what to read after comparing digests (`bucket`, `rows`, `digest`, as texts)."""
    if theirs is None:
        return Scope()
    left, right = _by_bucket(ours), _by_bucket(theirs)
    differing = sorted(each for each in left.keys() | right.keys() if left.get(each) != right.get(each))
    if len(differing) > DENSE:
        return Scope()
    return Scope(differing, sum(rows for each, (rows, _) in left.items() if each not in set(differing)))


def _by_bucket(digests: pa.Table) -> dict[int, tuple[int, int]]:
    return {int(row["bucket"]): (int(row["rows"]), int(row["digest"])) for row in digests.to_pylist()}
