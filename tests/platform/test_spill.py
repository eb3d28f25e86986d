"""What DuckDB spills leaves room on the disk for PostgreSQL, in our own connections and in SQLMesh's."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest

from searchflow import spill, warehouse
from searchflow.services import sqlmesh_environment
from searchflow.settings import Settings
from searchflow.transformation import project


def in_bytes(size: str) -> int:
    """Read `16384MiB` and `16.0 GiB`."""
    return int(float(size[:-3]) * 2 ** {"MiB": 20, "GiB": 30, "TiB": 40}[size[-3:]])


@pytest.mark.integration
def test_every_connection_may_take_half_of_the_free_disk_at_most(fresh_platform: Settings) -> None:
    free = shutil.disk_usage(fresh_platform.home).free
    most = in_bytes(spill.most(fresh_platform))
    assert free / 8 < most <= free / 2 + 2**30  # other tests free and fill the disk meanwhile
    with warehouse.connect(fresh_platform) as lake:
        [(limit,)] = lake.execute("SELECT current_setting('max_temp_directory_size')").fetchall()
    assert in_bytes(limit) <= 2 * most
    assert in_bytes(sqlmesh_environment(fresh_platform)["SEARCHFLOW_SPILL_MOST"]) <= 2 * most
    try:
        with project.project(fresh_platform) as opened:
            found = opened.context.engine_adapter.fetchall("SELECT current_setting('max_temp_directory_size')")
        assert in_bytes(found[0][0]) <= 2 * most
    finally:
        project.forget(fresh_platform)


def test_the_limit_is_kept_when_it_is_set_as_we_do_and_named_when_it_stops_a_query(tmp_path: Path) -> None:
    """DuckDB's own message says which setting it was: people read it as it is."""
    wide = "CREATE TEMP TABLE wide AS SELECT md5(i::TEXT) || md5((i + 1)::TEXT) AS text FROM range(4000000) AS r(i)"
    with duckdb.connect(config={"memory_limit": "60MB", "temp_directory": str(tmp_path / "spill")}) as engine:
        engine.execute("SET max_temp_directory_size = '1 MiB'")
        with pytest.raises(duckdb.OutOfMemoryException, match="max_temp_directory_size"):
            engine.execute(wide)
