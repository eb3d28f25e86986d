"""The declarations of the raw tables, and the code that makes every table and view that the platform keeps in the lake.

SQLMesh makes the tables of its models; the tables here exist before it runs. When a newer release adds columns to a table,
this module adds them to the existing one.
"""

from __future__ import annotations

import duckdb

from searchflow import lake_calls, warehouse
from searchflow.event_types import EVENT_TYPES, EventType
from searchflow.fetching import first_row
from searchflow.ops import record, views
from searchflow.settings import Settings

EVENT_COLUMNS = """
    event_id VARCHAR NOT NULL, event_ts TIMESTAMP NOT NULL, user_id VARCHAR, session_id VARCHAR{session},
    payload VARCHAR NOT NULL, schema_version INTEGER NOT NULL"""
PROVENANCE_COLUMNS = """
    ingested_at TIMESTAMP NOT NULL, source VARCHAR NOT NULL, source_position VARCHAR NOT NULL,
    batch_id VARCHAR NOT NULL"""


def event_columns(event_type: EventType) -> str:
    """Return the columns of an event type's raw table. Where the type needs no session, the session may be null."""
    return (
        EVENT_COLUMNS.format(session=" NOT NULL" if event_type.session == "required" else "") + "," + PROVENANCE_COLUMNS
    )


RAW_TABLES = {
    **{each.table: event_columns(each) for each in EVENT_TYPES.values()},
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
"""The compression of files in `raw`: each batch searches them for its ids, and LZ4 unpacks faster than DuckLake's own choice,
Snappy."""
PARTITIONED = tuple(each.table for each in EVENT_TYPES.values())


def prepare(settings: Settings) -> None:
    """Make the lake's schemas and platform tables. Call this under the services lock: concurrent CREATEs conflict."""
    with warehouse.connect(settings) as connection:
        # One transaction takes a fraction of the time of one commit for each table, and a table that one commit makes and
        # partitions has no superseded shape.
        with warehouse.transaction(connection):
            _make_tables(connection)
        compress_lightly(connection, "raw")  # DuckLake accepts this only for schemas that are committed
        views.prepare(connection, warehouse.CATALOG)
        _drop_superseded(connection)


def compress_lightly(connection: duckdb.DuckDBPyConnection, schema: str) -> None:
    """Let DuckLake write the schema's files with LZ4 from now on; older files are read as they are."""
    known = first_row(
        connection.execute(
            f"SELECT value FROM ducklake_options('{warehouse.CATALOG}') "
            "WHERE option_name = 'parquet_compression' AND scope = 'SCHEMA' AND scope_entry = ?",
            [schema],
        )
    )
    if known != (COMPRESSION,):
        connection.execute(
            f"CALL {warehouse.CATALOG}.set_option('parquet_compression', ?, schema => ?)", [COMPRESSION, schema]
        )


def _make_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the tables and columns that are missing."""
    existing: dict[str, list[str]] = dict(
        connection.execute(
            "SELECT schema_name || '.' || table_name, list(column_name) FROM duckdb_columns() "
            "WHERE database_name = ? GROUP BY ALL",
            [warehouse.CATALOG],
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
    note_event_types(connection)


def note_event_types(connection: duckdb.DuckDBPyConnection) -> None:
    """Make `ops.event_types` equal to the declarations: models and people read there which types exist."""
    declared = [
        (each.name, each.title, each.plural, each.stream, each.raw_table, [ref.event_type for ref in each.references])
        for each in sorted(EVENT_TYPES.values(), key=lambda each: each.name)
    ]
    if connection.execute(f"FROM {record.EVENT_TYPES} ORDER BY event_type").fetchall() != declared:
        connection.execute(f"DELETE FROM {record.EVENT_TYPES}")
        connection.executemany(f"INSERT INTO {record.EVENT_TYPES} VALUES (?, ?, ?, ?, ?, ?)", declared)


def _add_columns(connection: duckdb.DuckDBPyConnection, table: str, columns: str, present: list[str]) -> None:
    """Add the columns that a newer release declares. DuckLake adds them without touching a file."""
    for column in (part.strip() for part in columns.split(",")):
        if column.split()[0] not in present:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column}")


def _drop_superseded(connection: duckdb.DuckDBPyConnection) -> None:
    """Flush now, so that no later flush drops a catalog table that open connections know.

    A table whose partitions or columns were changed has one catalog table of inlined rows for each of its shapes. A flush
    drops the older ones, and DuckDB 1.5 ends a process whose connection still looks into one. Here no other process is
    connected yet.
    """
    tables = f"__ducklake_metadata_{warehouse.CATALOG}.ducklake_inlined_data_tables"
    if first_row(connection.execute(f"SELECT 1 FROM {tables} GROUP BY table_id HAVING count(*) > 1 LIMIT 1")):
        lake_calls.call(connection, lake_calls.FLUSH)


def _add_guard(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    connection.execute(
        f"INSERT INTO {table} SELECT ?, '', 0, '', NULL, NULL "
        f"WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE source = ?)",
        [record.GUARD, record.GUARD],
    )
