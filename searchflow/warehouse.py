"""The warehouse: DuckLake (Parquet files, catalog in PostgreSQL) through DuckDB.

Every connection is its own in-memory DuckDB with the lake attached as `lake`. Readers see consistent snapshots while
other processes write. All timestamps are UTC without a zone.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from searchflow import spill as spilling
from searchflow.errors import ServiceError
from searchflow.fetching import first_row
from searchflow.quoting import literal
from searchflow.services import postgres
from searchflow.settings import Settings

CATALOG = "lake"
COMMIT_SETTINGS = {"ducklake_max_retry_count": 200, "ducklake_retry_wait_ms": 20, "ducklake_retry_backoff": 1.01}
"""DuckLake's settings for when another commit took the next snapshot's number first; a real conflict ends at once.

By default DuckLake tries ten times, which is too few beside busy workers, and makes each wait half as long again (from
100 ms). With eight writers that never rest, commits waited 30 to 48 seconds while other writers made 45 a second.
`config.yaml` gives SQLMesh these values too."""
# wheel name -> the name DuckDB loads it by
EXTENSIONS = {"ducklake": "ducklake", "postgres": "postgres_scanner", "httpfs": "httpfs"}


@functools.cache
def _platform() -> str:
    # This opens its own connection: duckdb.sql() shares one among all threads.
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


def attach_statements(settings: Settings, *, read_only: bool = True, snapshot: int | None = None) -> list[str]:
    """Return the SQL that turns a fresh DuckDB connection into a warehouse connection.

    With `snapshot`, the connection sees the lake as it was then.
    """
    location = literal(f"ducklake:postgres:{postgres.conninfo(settings, 'catalog')}")
    options = [f"DATA_PATH {literal(settings.data_path)}", f"DATA_INLINING_ROW_LIMIT {settings.inline_rows}"]
    if read_only:
        options.append("READ_ONLY")
    if snapshot is not None:
        options.append(f"SNAPSHOT_VERSION {snapshot}")
    return [
        "SET TimeZone = 'UTC'",
        *(f"SET {name} = {value}" for name, value in COMMIT_SETTINGS.items()),
        f"ATTACH IF NOT EXISTS {location} AS {CATALOG} ({', '.join(options)})",
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
    """Open a connection with the lake attached and in use: tables are `raw.search_events`, `marts.fct_search_funnel`.

    Raises:
        ServiceError: the catalog does not answer.
    """
    # The extensions come from wheels whose hashes requirements.lock pins, so their signatures need no second check:
    # it costs a quarter of a second for each connection. `confined` stops a person's query from loading any extension.
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
    # In `config` DuckDB 1.5.5 takes it, shows it, and does not keep to it.
    connection.execute(f"SET max_temp_directory_size = '{spilling.most(settings)}'")
    try:
        for statement in attach_statements(settings, read_only=read_only):
            connection.execute(statement)
    except duckdb.Error as error:
        connection.close()
        postgres.check(settings)  # its error is clearer when the server is the reason
        raise ServiceError(
            f"The warehouse cannot be opened: {str(error).splitlines()[0][:300]}. Run `searchflow status`."
        ) from error
    return connection


def beside(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Open a connection for another thread, with its own transactions. It shares the attached lake and opens at once."""
    other = connection.cursor()
    other.execute("SET TimeZone = 'UTC'")
    other.execute(f"USE {CATALOG}")
    return other


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Run the block as one DuckLake transaction: all of it becomes visible at once, or nothing does."""
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        # Without its catalog there is nothing to roll back; the error that ended the transaction is the one to raise.
        with suppress(duckdb.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def current_snapshot(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the snapshot that this connection reads: the newest, or the one that it is pinned to."""
    row = first_row(connection.execute(f"FROM {CATALOG}.current_snapshot()"))
    assert row is not None
    return int(row[0])


def snapshot_id(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the newest snapshot. Its number changes exactly when the data does."""
    row = first_row(connection.execute(f"SELECT max(snapshot_id) FROM ducklake_snapshots('{CATALOG}')"))
    assert row is not None
    return int(row[0] or 0)
