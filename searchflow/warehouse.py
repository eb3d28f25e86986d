"""The warehouse: DuckLake (Parquet files, catalog in PostgreSQL) through DuckDB.

Every connection is its own in-memory DuckDB with the lake attached as `lake`; readers see consistent snapshots while
others write. All timestamps are UTC without a zone.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from searchflow import spill as spilling
from searchflow.errors import ServiceError, UsageError
from searchflow.services import postgres
from searchflow.settings import Settings

CATALOG = "lake"
COMMIT_SETTINGS = {"ducklake_max_retry_count": 200, "ducklake_retry_wait_ms": 20, "ducklake_retry_backoff": 1.01}
"""Of DuckLake, when another commit took the next snapshot's number first; a real conflict ends at once.

By itself it tries ten times, which is too few beside busy workers, and waits half as long again each time (from 100 ms):
with eight writers that never rest, commits waited 30 to 48 seconds while others made 45 a second. `config.yaml` says
the same to SQLMesh."""
# wheel name -> the name DuckDB loads it by
EXTENSIONS = {"ducklake": "ducklake", "postgres": "postgres_scanner", "httpfs": "httpfs"}

EVENT_COLUMNS = """
    event_id VARCHAR NOT NULL, event_ts TIMESTAMP NOT NULL, user_id VARCHAR, session_id VARCHAR NOT NULL,
    payload VARCHAR NOT NULL, schema_version INTEGER NOT NULL"""
PROVENANCE_COLUMNS = """
    ingested_at TIMESTAMP NOT NULL, source VARCHAR NOT NULL, source_position VARCHAR NOT NULL,
    batch_id VARCHAR NOT NULL"""

RAW_TABLES = {
    "search_events": EVENT_COLUMNS + "," + PROVENANCE_COLUMNS,
    "click_events": EVENT_COLUMNS + "," + PROVENANCE_COLUMNS,
    "conversion_events": EVENT_COLUMNS + "," + PROVENANCE_COLUMNS,
    "ad_spend": """
    spend_date DATE NOT NULL, utm_source VARCHAR, utm_campaign VARCHAR, currency VARCHAR NOT NULL, cost DOUBLE NOT NULL,
    impressions BIGINT, clicks BIGINT, payload VARCHAR NOT NULL,"""
    + PROVENANCE_COLUMNS,
    "user_profiles": """
    user_id VARCHAR NOT NULL, email VARCHAR, name VARCHAR, locale VARCHAR, time_zone VARCHAR, country VARCHAR,
    marketing_consent BOOLEAN, created_at TIMESTAMP, updated_at TIMESTAMP NOT NULL, payload VARCHAR NOT NULL,"""
    + PROVENANCE_COLUMNS,
    "dead_letters": """
    dead_letter_id VARCHAR NOT NULL, received_at TIMESTAMP NOT NULL, source VARCHAR NOT NULL,
    source_position VARCHAR NOT NULL, event_type VARCHAR, reason_code VARCHAR NOT NULL, reason VARCHAR NOT NULL,
    raw_payload BLOB NOT NULL, batch_id VARCHAR NOT NULL, status VARCHAR NOT NULL, resolved_at TIMESTAMP,
    resolved_by VARCHAR, resolution VARCHAR""",
}
COMPRESSION = "lz4"
"""Of files in `raw`: they are searched for the ids of each batch, and LZ4 unpacks faster than DuckLake's own choice, Snappy."""
PARTITIONED = ("search_events", "click_events", "conversion_events")


@functools.cache
def _platform() -> str:
    # On a connection of its own: duckdb.sql() shares one among all threads.
    with duckdb.connect(":memory:") as connection:
        row = connection.execute("PRAGMA platform").fetchone()
    assert row is not None
    return str(row[0])


def stage_extensions(folder: Path) -> None:
    """Link DuckDB's extensions from their wheels into `folder`: no download, nothing in the user's home."""
    version = f"v{duckdb.__version__}"
    target = folder / version / _platform()
    target.mkdir(parents=True, exist_ok=True)
    for wheel, name in EXTENSIONS.items():
        spec = importlib.util.find_spec(f"duckdb_extension_{wheel}")
        if spec is None or spec.origin is None:
            continue
        source = Path(spec.origin).parent / "extensions" / version / f"{wheel}.duckdb_extension"
        link = target / f"{name}.duckdb_extension"
        if not link.exists():
            partial = link.with_name(f"{link.name}.{os.getpid()}")
            partial.symlink_to(source)
            partial.replace(link)


def attach_statements(settings: Settings, *, read_only: bool = True) -> list[str]:
    """The SQL that turns a fresh DuckDB connection into a warehouse connection."""
    location = postgres.conninfo(settings, "catalog").replace("'", "''")
    options = [f"DATA_PATH '{settings.data_path}'", f"DATA_INLINING_ROW_LIMIT {settings.inline_rows}"]
    if read_only:
        options.append("READ_ONLY")
    return [
        "SET TimeZone = 'UTC'",
        *(f"SET {name} = {value}" for name, value in COMMIT_SETTINGS.items()),
        f"ATTACH IF NOT EXISTS 'ducklake:postgres:{location}' AS {CATALOG} ({', '.join(options)})",
        f"USE {CATALOG}",
    ]


def connect(
    settings: Settings,
    *,
    read_only: bool = False,
    memory_limit: str | None = None,
    threads: int | None = None,
    spill: Path | None = None,
) -> duckdb.DuckDBPyConnection:
    """A connection with the lake attached and in use: tables are `raw.search_events`, `marts.fct_search_funnel`.

    Raises:
        ServiceError: the catalog does not answer.
    """
    # The extensions come from wheels whose hashes requirements.lock pins, so their signatures need no second check:
    # it costs a quarter of a second a connection. `confine` takes the right to load any from a person's query.
    config: dict[str, str | bool | int | float | list[str]] = {
        "extension_directory": str(settings.extensions_dir),
        "allow_unsigned_extensions": True,
        "temp_directory": str(spill or spilling.place(settings)),
    }
    if memory_limit:
        config["memory_limit"] = memory_limit
    if threads:
        config["threads"] = threads
    stage_extensions(settings.extensions_dir)
    connection = duckdb.connect(":memory:", config=config)
    try:
        for statement in attach_statements(settings, read_only=read_only):
            connection.execute(statement)
    except duckdb.Error as error:
        connection.close()
        postgres.check(settings)  # says it better when the server is the reason
        raise ServiceError(
            f"The warehouse cannot be opened: {str(error).splitlines()[0][:300]}. Run `searchflow status`."
        ) from error
    return connection


def beside(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Another connection for another thread, with transactions of its own; it shares the attached lake and opens at once."""
    other = connection.cursor()
    other.execute("SET TimeZone = 'UTC'")
    other.execute(f"USE {CATALOG}")
    return other


JUDGED = ("SET explain_output = 'all'", "SET python_enable_replacements = false")
"""Settings of each session whose queries `searchflow.read_only` judges."""


def confine(connection: duckdb.DuckDBPyConnection, settings: Settings, *, locked: bool = True) -> None:
    """Take from a connection what a person's query must not have: other files, the network, other extensions, variables of
    Python. What is left of the lake's folder is judged by `searchflow.read_only`. Not `locked`: our own code may still choose
    the time zone, for example."""
    if "://" in settings.data_path:
        connection.execute("LOAD httpfs")  # later it could not be loaded by itself
    for statement in JUDGED:
        connection.execute(statement)
    connection.execute("SET allowed_directories = ?", [[settings.data_path]])
    connection.execute("SET enable_external_access = false")
    if locked:
        connection.execute("SET lock_configuration = true")


HARMLESS_TABLE_FUNCTIONS = frozenset(
    {"range", "generate_series", "unnest", "json_each", "json_tree", "duckdb_tables", "duckdb_columns", "duckdb_views"}
)
"""All that a person's query may call in FROM. Others run SQL from strings or on the catalog's own server."""


def table_functions(connection: duckdb.DuckDBPyConnection, sql: str) -> set[str]:
    """Names of the table functions that a SELECT calls, wherever they stand in it."""
    return {
        str(node.get("function", {}).get("function_name", "?")).lower()
        for node in _nodes(connection, sql)
        if node.get("type") == "TABLE_FUNCTION"
    }


def tables_named(connection: duckdb.DuckDBPyConnection, sql: str) -> set[str]:
    """Tables that a SELECT names with their schema, wherever they stand in it and however they are written."""
    return {".".join(name[-2:]) for name in names_in(connection, sql)}


def names_in(connection: duckdb.DuckDBPyConnection, sql: str) -> set[tuple[str, ...]]:
    """The same in parts: catalog (where it is written), schema and table."""
    return {
        tuple(part for part in (node.get("catalog_name"), node["schema_name"], node["table_name"]) if part)
        for node in _nodes(connection, sql)
        if node.get("type") == "BASE_TABLE" and node.get("schema_name")
    }


def _nodes(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[dict[str, Any]]:
    """Every node of a SELECT as DuckDB parses it."""
    row = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    assert row is not None
    document = json.loads(row[0])
    if document.get("error"):
        raise UsageError("Only a plain SELECT is allowed here. Rewrite the query as one.")
    pending: list[Any] = [document]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            yield node
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)


def prepare(settings: Settings) -> None:
    """Make the lake's schemas and platform tables. Called under the services lock: concurrent CREATEs conflict."""
    from searchflow.ops import views

    with connect(settings) as connection:
        # In one transaction: a fraction of the time of a commit a table, and a table that is made and partitioned by one
        # commit has no superseded shape.
        with transaction(connection):
            _make_tables(connection)
        compress_lightly(connection, "raw")  # DuckLake takes it for schemas that are committed only
        views.prepare(connection, CATALOG)
        _drop_superseded(connection)


def compress_lightly(connection: duckdb.DuckDBPyConnection, schema: str) -> None:
    """Have the schema's files written with LZ4 from now on; older files are read as they are."""
    known = connection.execute(
        f"SELECT value FROM ducklake_options('{CATALOG}') "
        "WHERE option_name = 'parquet_compression' AND scope = 'SCHEMA' AND scope_entry = ?",
        [schema],
    ).fetchone()
    if known != (COMPRESSION,):
        connection.execute(f"CALL {CATALOG}.set_option('parquet_compression', ?, schema => ?)", [COMPRESSION, schema])


def _make_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """What is missing of tables and columns."""
    from searchflow.ops import record

    existing: dict[str, list[str]] = dict(
        connection.execute(
            "SELECT schema_name || '.' || table_name, list(column_name) FROM duckdb_columns() "
            "WHERE database_name = ? GROUP BY ALL",
            [CATALOG],
        ).fetchall()
    )
    if not existing:
        connection.execute("CREATE SCHEMA IF NOT EXISTS raw; CREATE SCHEMA IF NOT EXISTS ops")
    for table, columns in RAW_TABLES.items():
        if f"raw.{table}" not in existing:
            connection.execute(f"CREATE TABLE raw.{table} ({columns})")
            if table in PARTITIONED:
                connection.execute(
                    f"ALTER TABLE raw.{table} SET PARTITIONED BY (year(event_ts), month(event_ts), day(event_ts))"
                )
        else:
            _add_columns(connection, f"raw.{table}", columns, existing[f"raw.{table}"])
    for table, columns in record.TABLES.items():
        if table not in existing:
            connection.execute(f"CREATE TABLE {table} ({columns})")
        else:
            _add_columns(connection, table, columns, existing[table])
        if table.startswith("ops.position_"):
            _add_guard(connection, table)


def _add_columns(connection: duckdb.DuckDBPyConnection, table: str, columns: str, present: list[str]) -> None:
    """Columns that a newer release declares; DuckLake adds them without touching a file."""
    for column in (part.strip() for part in columns.split(",")):
        if column.split()[0] not in present:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column}")


def _drop_superseded(connection: duckdb.DuckDBPyConnection) -> None:
    """Let no flush that comes later drop a catalog table that open connections know.

    A table whose partitions or columns were changed has one for inlined rows of each shape; a flush drops the older
    ones, and DuckDB 1.5 ends a process whose connection still looks into one. Here nobody else is connected yet.
    """
    from searchflow import lake_calls

    tables = f"__ducklake_metadata_{CATALOG}.ducklake_inlined_data_tables"
    if connection.execute(f"SELECT 1 FROM {tables} GROUP BY table_id HAVING count(*) > 1 LIMIT 1").fetchone():
        lake_calls.call(connection, lake_calls.FLUSH)


def _add_guard(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    from searchflow.ops.record import GUARD

    connection.execute(
        f"INSERT INTO {table} SELECT ?, '', 0, '', NULL, NULL "
        f"WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE source = ?)",
        [GUARD, GUARD],
    )


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """One DuckLake transaction: all of it becomes visible at once, or nothing does."""
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        # Without its catalog there is nothing to roll back; what ended the transaction is the news.
        with suppress(duckdb.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def current_snapshot(connection: duckdb.DuckDBPyConnection) -> int:
    """The snapshot that this connection reads: the newest, or the one that it is pinned to."""
    row = connection.execute(f"FROM {CATALOG}.current_snapshot()").fetchone()
    assert row is not None
    return int(row[0])


def snapshot_id(connection: duckdb.DuckDBPyConnection) -> int:
    """The newest snapshot: changes exactly when the data does."""
    row = connection.execute(f"SELECT max(snapshot_id) FROM ducklake_snapshots('{CATALOG}')").fetchone()
    assert row is not None
    return int(row[0] or 0)
