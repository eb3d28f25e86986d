"""Coverage: did the suites of a gate see the data that is about to be sent?

A verdict counts for the snapshot of the lake that its suite looked at. What a sync sends was made by the last snapshot
that changed its model, or a table behind it. A suite that looked then or later has seen it. One that looked earlier
has seen it too when its own table did not change in between: raw suites run before the models are made, and vouch
for what these were made from. Otherwise the verdict is stale, and the suite has to look again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from activations.declaration import Sync
from activations.gate import GateVerdict
from searchflow import warehouse
from searchflow.fetching import first_row

_CATALOG = f"__ducklake_metadata_{warehouse.CATALOG}"
_CHANGES = "(?:inserted_into_table|deleted_from_table|inlined_insert|inlined_delete|altered_table):([0-9]+)"
"""The words that DuckLake notes of a snapshot that changed rows; maintenance (flushes, merges) has other words."""


@dataclass(frozen=True)
class _Relation:
    """A table (with its number) or a view (with its SQL), and the snapshot that made it."""

    number: int | None
    sql: str
    made: int


class Coverage:
    """The changes of each table by snapshot, as far as the lake remembers them."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, since: int) -> None:
        self._connection = connection
        self._relations = self._read_relations()
        self._changes = self._read_changes(since)
        row = first_row(connection.execute(f"SELECT min(snapshot_id) FROM {_CATALOG}.ducklake_snapshot"))
        self._oldest = int(row[0] or 0) if row else 0

    def stale(self, sync: Sync, verdicts: Iterable[GateVerdict]) -> list[str]:
        """Return the suites whose verdict says nothing about what the sync would send."""
        made = self._last_change(sync.model)
        return [each.suite for each in verdicts if each.snapshot is not None and not self._covers(each, made)]

    def _covers(self, verdict: GateVerdict, made: int) -> bool:
        seen = verdict.snapshot or 0
        if seen >= made:
            return True
        if seen < self._oldest:  # what happened in between is forgotten
            return False
        return not any(seen < change <= made for change in self._all_changes(verdict.suite))

    def _last_change(self, name: str) -> int:
        return max(self._all_changes(name), default=0)

    def _all_changes(self, name: str) -> Iterator[int]:
        for relation in self._behind(name):
            yield relation.made
            yield from self._changes.get(relation.number or -1, [])

    def _behind(self, name: str) -> list[_Relation]:
        """Return a relation and all that it reads, down to tables."""
        found: dict[str, _Relation] = {}
        pending = [name]
        while pending:
            each = pending.pop()
            if each not in found and each in self._relations:
                found[each] = self._relations[each]
                pending += self._read_by(found[each].sql)
        return list(found.values())

    def _read_by(self, sql: str) -> list[str]:
        if not sql:
            return []
        row = first_row(self._connection.execute("SELECT json_serialize_sql(?)", [sql]))
        assert row is not None
        return sorted(_tables(json.loads(row[0])))

    def _read_relations(self) -> dict[str, _Relation]:
        rows = self._connection.execute(f"""
            WITH relations AS (
                SELECT schema_id, table_name AS name, table_id AS number, '' AS sql, begin_snapshot
                FROM {_CATALOG}.ducklake_table WHERE end_snapshot IS NULL
                UNION ALL
                SELECT schema_id, view_name, NULL, sql, begin_snapshot
                FROM {_CATALOG}.ducklake_view WHERE end_snapshot IS NULL
            )
            SELECT schema_name || '.' || name, number, sql, r.begin_snapshot
            FROM relations r JOIN {_CATALOG}.ducklake_schema s USING (schema_id) WHERE s.end_snapshot IS NULL
        """).fetchall()
        return {
            name: _Relation(number, sql.replace("{DUCKLAKE_CATALOG}", warehouse.CATALOG), made)
            for name, number, sql, made in rows
        }

    def _read_changes(self, since: int) -> dict[int, list[int]]:
        rows = self._connection.execute(
            f"""
            SELECT number::BIGINT, list(DISTINCT snapshot_id) FROM (
                SELECT snapshot_id, unnest(regexp_extract_all(changes_made, ?, 1)) AS number
                FROM {_CATALOG}.ducklake_snapshot_changes WHERE snapshot_id > ?)
            GROUP BY ALL""",
            [_CHANGES, since],
        ).fetchall()
        return dict(rows)


def coverage(connection: duckdb.DuckDBPyConnection, verdicts: Iterable[GateVerdict]) -> Coverage:
    """Return what changed in the lake since the oldest of the verdicts."""
    return Coverage(connection, min((each.snapshot for each in verdicts if each.snapshot is not None), default=0))


def _tables(document: Any) -> Iterator[str]:
    pending: list[Any] = [document]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if node.get("type") == "BASE_TABLE" and node.get("schema_name"):
                yield f"{node['schema_name']}.{node['table_name']}"
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
