"""The correction of the catalog in a home that was copied or moved: it holds the Parquet files' folder as an absolute path.

Everything else in a home is relative to it: files of tables in the catalog, PostgreSQL's cluster, Valkey's append-only file.
Process records name the home that they belong to (`searchflow/services/process.py`).
"""

from __future__ import annotations

import psycopg

from searchflow.errors import ConfigurationError
from searchflow.services import postgres
from searchflow.settings import Settings

STORED = "SELECT value FROM ducklake_metadata WHERE key = 'data_path' AND scope IS NULL"


def follow(settings: Settings) -> None:
    """Let the catalog look for its files where this home has them. In a home that was not moved this changes nothing.

    Raises:
        ConfigurationError: the catalog is on a server that other homes may use, or a person chose the folder.
    """
    with psycopg.connect(postgres.conninfo(settings, "catalog")) as connection:
        if connection.execute("SELECT to_regclass('ducklake_metadata')").fetchone() == (None,):
            return
        row = connection.execute(STORED).fetchone()
        if row is None or row[0] == settings.data_path:
            return
        if settings.postgres_url is not None or settings.data_location is not None:
            raise ConfigurationError(
                "SEARCHFLOW_DATA_PATH",
                f"the catalog's files are in {row[0]}, and this home looks for them in {settings.data_path}.",
                "Set it to the catalog's folder, or SEARCHFLOW_HOME to the home that the catalog belongs to.",
            )
        connection.execute(
            "UPDATE ducklake_metadata SET value = %s WHERE key = 'data_path' AND scope IS NULL", [settings.data_path]
        )
