"""The lake's files: rewritten without deleted rows and older snapshots, and searched at the end, value by value.

Deleted rows stay in Parquet files and in the catalog until the files are rewritten, every older snapshot has expired and old
files are removed. A search of the tables cannot see what is left in a file, so every file in the lake's folder is read.
"""

from __future__ import annotations

import re
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import duckdb
import psycopg
from psycopg import sql

from searchflow import lake_calls, maintenance, warehouse
from searchflow.backoff import Backoff
from searchflow.erasure import matching
from searchflow.erasure.place import Finding, Job
from searchflow.erasure.terms import Terms
from searchflow.errors import SearchFlowError
from searchflow.ingestion import cut
from searchflow.quoting import identifier
from searchflow.services import postgres
from searchflow.services.process import locked
from searchflow.streams import EVENT_TYPES

NAME = "lake files"
AGAIN = Backoff(attempts=20, first=0.25)
INLINED = "SELECT tablename FROM pg_tables WHERE tablename LIKE 'ducklake\\_inlined\\_%\\_%' AND tablename ~ '[0-9]$'"
"""The SQL that lists DuckLake's catalog tables of deletions and of rows that are in no file yet. Their names hold the table's
number."""
TABLE_NUMBER = re.compile(r"_inlined_[a-z]+_([0-9]+)")
EVER = datetime(9999, 1, 1, tzinfo=UTC)
WITHOUT_WORDS = {
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "FLOAT",
    "DOUBLE",
    "DATE",
    "TIMESTAMP",
}
"""The types whose values cannot hold an identifier as text."""


def rewrite_files(job: Job) -> None:
    """Write files without deleted rows, expire older snapshots, and remove old files and orphans that hold the person.

    Ingestion continues beside it. It waits only while snapshots expire and old files are removed, because a commit that began
    before would still need them.
    """
    with warehouse.connect(job.settings) as connection:
        with cut.CommitGate(job.settings) as gate:
            alone = partial(gate.alone, EVENT_TYPES)
            for schema, table in _with_rows_in_the_catalog(job, connection):
                _insist(connection, lake_calls.FLUSH, alone=alone, schema_name=schema, table_name=table)
        with locked(job.settings, "transformation", wait=True):
            for schema, table in _with_deleted_rows(connection):
                written = _insist(connection, "ducklake_rewrite_data_files", table, schema=schema, delete_threshold=0)
                job.count("files rewritten", sum(int(str(row[2])) for row in written))
        with cut.commits_held(job.settings):
            expired = _insist(connection, "ducklake_expire_snapshots", older_than=EVER)
            job.count("snapshots expired", len(expired))
            gone = _insist(connection, "ducklake_cleanup_old_files", cleanup_all=True)
            job.count("old files deleted", len(gone))
        _delete_orphans(connection, job)
        if _stale_statistics(connection, job):
            with cut.commits_held(job.settings):  # a commit meanwhile would widen the statistics that are narrowed here
                _correct_statistics(connection, job)


def search_files(job: Job) -> list[Finding]:
    """Count by table the files that hold an identifier in any value, compressed or not. Files in a bucket are not read."""
    if "://" in job.settings.data_path:
        return []
    found: dict[str, int] = {}
    root = Path(job.settings.data_path)
    with duckdb.connect() as connection:
        for path in sorted(root.rglob("*.parquet")):
            if _holds(connection, str(path), job.terms):
                table = "/".join(path.relative_to(root).parts[:2])
                found[table] = found.get(table, 0) + 1
    return [Finding(NAME, table, count) for table, count in sorted(found.items())]


def _with_rows_in_the_catalog(job: Job, connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Return the tables of which the catalog itself holds rows, or deletions of rows in files."""
    with psycopg.connect(postgres.conninfo(job.settings, "catalog")) as catalog:
        names = [name for (name,) in catalog.execute(INLINED).fetchall()]
        asked = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(sql.Literal(name), sql.Identifier(name))
            for name in names
        )
        filled = [name for (name,) in catalog.execute(asked).fetchall()] if names else []
    return _named(connection, {int(found[1]) for name in filled if (found := TABLE_NUMBER.search(name))})


def _with_deleted_rows(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Return the tables with files that hold deleted rows."""
    rows = connection.execute(
        f"SELECT DISTINCT table_id FROM {maintenance.CATALOG_TABLES}.ducklake_delete_file WHERE end_snapshot IS NULL"
    ).fetchall()
    return _named(connection, {number for (number,) in rows})


def _named(connection: duckdb.DuckDBPyConnection, numbers: set[int]) -> list[tuple[str, str]]:
    """Return (schema, table) for those of the numbered tables that still exist."""
    catalog = maintenance.CATALOG_TABLES
    rows = connection.execute(
        f"SELECT schema_name, table_name, table_id FROM {catalog}.ducklake_table JOIN {catalog}.ducklake_schema AS s "
        "USING (schema_id) WHERE ducklake_table.end_snapshot IS NULL AND s.end_snapshot IS NULL ORDER BY ALL"
    ).fetchall()
    return [(schema, table) for schema, table, number in rows if number in numbers]


def _insist(
    connection: duckdb.DuckDBPyConnection,
    function: str,
    *places: str,
    alone: lake_calls.Alone = nullcontext,
    **options: object,
) -> list[tuple[object, ...]]:
    """Call one of DuckLake's functions until no writer is faster, and return its rows."""
    for _ in AGAIN.tries():
        upkeep = maintenance.Upkeep()
        rows = maintenance.call(connection, function, upkeep, *places, alone=alone, **options)
        if not upkeep.skipped:
            return rows
    raise SearchFlowError(
        f"Other writers were faster than {function} each time. Nothing is lost: run `searchflow forget` again."
    )


def _delete_orphans(connection: duckdb.DuckDBPyConnection, job: Job) -> None:
    """Delete the files with the person in them that no snapshot names: killed writers left them."""
    for (path,) in _insist(connection, "ducklake_delete_orphaned_files", older_than=EVER, dry_run=True):
        if _holds(connection, str(path), job.terms):
            if "://" in str(path):
                job.left.append(f"the orphan file {path} holds the person: delete it in its bucket")
            else:
                Path(str(path)).unlink(missing_ok=True)
                job.count("orphan files deleted", 1)


def _holds(connection: duckdb.DuckDBPyConnection, path: str, terms: Terms) -> bool:
    if not path.endswith(".parquet"):
        return False
    try:
        columns = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [path]).fetchall()
        texts = [f"{identifier(name)}::VARCHAR" for name, kind, *_ in columns if kind not in WITHOUT_WORDS]
        if not texts:
            return False
        query = f"SELECT concat_ws(chr(1), {', '.join(texts)}) FROM read_parquet($path)"
        return any(terms.named_in(text) for (text,) in matching.perhaps(connection, query, {"path": path}, terms))
    except duckdb.Error:  # not a whole file: no one can read it, and neither can we
        return False


def _stale_statistics(connection: duckdb.DuckDBPyConnection, job: Job) -> list[tuple[int, int, str, str, str]]:
    """Return the columns whose smallest or largest value in the catalog names the person."""
    catalog = maintenance.CATALOG_TABLES
    rows = connection.execute(f"""
        SELECT s.table_id, s.column_id, d.schema_name, t.table_name, c.column_name, s.min_value, s.max_value
        FROM {catalog}.ducklake_table_column_stats AS s
        JOIN {catalog}.ducklake_table AS t ON t.table_id = s.table_id AND t.end_snapshot IS NULL
        JOIN {catalog}.ducklake_schema AS d ON d.schema_id = t.schema_id AND d.end_snapshot IS NULL
        JOIN {catalog}.ducklake_column AS c
            ON c.table_id = s.table_id AND c.column_id = s.column_id AND c.end_snapshot IS NULL
        WHERE c.column_type = 'varchar'""").fetchall()
    return [
        (table_id, column_id, schema, table, column)
        for table_id, column_id, schema, table, column, *ends in rows
        if any(job.terms.is_key(end) or job.terms.named_in(end) for end in ends if end)
    ]


def _correct_statistics(connection: duckdb.DuckDBPyConnection, job: Job) -> None:
    """Correct the smallest and largest value that the catalog keeps of each column: a deleted row may have held one."""
    catalog = maintenance.CATALOG_TABLES
    for table_id, column_id, schema, table, column in _stale_statistics(connection, job):
        ends = f'SELECT min("{column}"), max("{column}") FROM "{schema}"."{table}"'
        [(low, high)] = connection.execute(ends).fetchall()
        connection.execute(
            f"UPDATE {catalog}.ducklake_table_column_stats SET min_value = ?, max_value = ? "
            "WHERE table_id = ? AND column_id = ?",
            [low, high, table_id, column_id],
        )
