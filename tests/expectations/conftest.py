"""A running home with a small travel company in it."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from searchflow import lifecycle, warehouse
from searchflow.settings import Settings
from tests import clusters
from tests.expectations.small_company import MODELS, RAW

TABLE = re.compile(r"\b(?:raw|ops|staging|marts|activation)\.\w+")


@pytest.fixture(scope="session")
def company_home(platform: Settings) -> Iterator[Settings]:
    """An empty home for these tests, with databases of its own on the session's servers."""
    folder = Path(tempfile.mkdtemp(prefix="sf-"))
    settings = clusters.beside(platform, folder, f"quality_{folder.name.removeprefix('sf-')}_")
    try:
        clusters.start_beside(platform, settings)
        yield settings
    finally:
        lifecycle.stop_all(settings)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def rows(company_home: Settings) -> dict[str, pa.Table]:
    """The company is written once; this is what its tables hold."""
    with warehouse.connect(company_home) as connection:
        connection.execute(RAW + MODELS)
        return {
            table: connection.execute(f"FROM {table}").to_arrow_table()
            for table in sorted(set(TABLE.findall(RAW + MODELS)))
        }


@pytest.fixture
def company(company_home: Settings, rows: dict[str, pa.Table]) -> Iterator[Callable[..., Settings]]:
    """`company(sql)`: the small company, and `sql` on top of it. Afterwards the tables it names are as before."""
    touched: set[str] = set()
    shutil.rmtree(company_home.home / "quality", ignore_errors=True)
    shutil.rmtree(company_home.reports_dir, ignore_errors=True)
    with warehouse.connect(company_home) as connection:
        for table in ("validation_results", "validated_tables", "quarantined_rows"):
            connection.execute(f"DELETE FROM ops.{table}")

    def change(sql: str = "") -> Settings:
        restore()
        touched.update(TABLE.findall(sql))
        with warehouse.connect(company_home) as connection:
            connection.execute(sql or "SELECT 1")
        return company_home

    def restore() -> None:
        with warehouse.connect(company_home) as connection:
            for table in touched & set(rows):
                connection.register("before", rows[table])
                if table.startswith(("raw.", "ops.")):
                    connection.execute(f"DELETE FROM {table}; INSERT INTO {table} FROM before")
                else:
                    connection.execute(f"CREATE OR REPLACE TABLE {table} AS FROM before")
        touched.clear()

    yield change
    restore()
