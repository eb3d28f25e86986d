"""A home of its own for tests of the platform's own tables, with databases on the session's servers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from searchflow import lifecycle, warehouse
from searchflow.ops import record
from searchflow.services import postgres
from searchflow.settings import Settings
from tests import clusters

OPS = (
    "ingestion_batches", "ingestion_metrics", "transformed_batches", "model_runs", "sync_runs", "stage_runs",
    "validation_results", "validated_tables", "service_levels",
)  # fmt: skip


@pytest.fixture(scope="session")
def watched_home(platform: Settings) -> Iterator[Settings]:
    folder = Path(tempfile.mkdtemp(prefix="sf-"))
    settings = clusters.beside(platform, folder, f"watched_{folder.name.removeprefix('sf-')}_")
    try:
        clusters.start_beside(platform, settings)
        yield settings
    finally:
        lifecycle.stop_all(settings)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def watched(watched_home: Settings) -> Settings:
    """Empty ops tables, no state, no notices."""
    with warehouse.connect(watched_home) as connection, warehouse.transaction(connection):
        for table in OPS:
            connection.execute(f"DELETE FROM ops.{table}")
    with psycopg.connect(postgres.conninfo(watched_home, "ledger")) as connection:
        connection.execute("TRUNCATE monitoring.notices, monitoring.level_states, monitoring.running")
    return watched_home


@pytest.fixture
def written(watched: Settings) -> Callable[..., None]:
    """`written(table, row, ...)`: literal rows in an ops table."""

    def write(table: str, *rows: dict[str, Any]) -> None:
        with warehouse.connect(watched) as connection:
            record.rows(connection, f"ops.{table}", rows)

    return write
