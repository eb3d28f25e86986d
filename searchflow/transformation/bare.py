"""Bare models: the models' own SQL in a plain DuckDB, with no servers, no DuckLake, no scheduler and no audits.

    with bare.warehouse(":memory:") as connection:
        ...fill raw.search_events and the others...
        bare.BareModels().make(connection, date(2026, 3, 1), date(2026, 3, 31), now)

The module has two uses. Properties of the models are tested on hundreds of small histories, and a benchmark tells what
the scheduler, the audits and the lake add to the work itself. SQLMesh renders the queries; the order is that of its
graph.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from searchflow import tables
from searchflow import warehouse as lake
from searchflow.ops import record
from searchflow.settings import ROOT

if TYPE_CHECKING:
    from sqlmesh import Context
    from sqlmesh.core.model import Model

SCHEMAS = ("raw", "ops", "seeds", "staging", "intermediate", "marts", "activation")


@contextmanager
def warehouse(path: str | Path = ":memory:") -> Iterator[duckdb.DuckDBPyConnection]:
    """Return a plain DuckDB with the platform's empty tables, under the catalog name that the models' queries use."""
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH '{path}' AS {lake.CATALOG}; USE {lake.CATALOG}")
        for schema in SCHEMAS:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        for table, columns in tables.RAW_TABLES.items():
            connection.execute(f"CREATE TABLE IF NOT EXISTS raw.{table} ({columns})")
        for table, columns in record.TABLES.items():
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
        tables.note_event_types(connection)
        yield connection


class BareModels:
    """The project's models. `make` does what a transformation does, without everything around the queries."""

    def __init__(self, root: Path = ROOT) -> None:
        self.context = _load(root)
        self.models = [model for model in map(self.context.get_model, self.context.dag.sorted) if _is_made(model)]
        self._rendered: dict[tuple[str, date, date, datetime], str] = {}

    def variable(self, name: str) -> Any:
        """Return a variable of config.yaml."""
        return self.context.config.variables[name]

    def make(
        self,
        connection: duckdb.DuckDBPyConnection,
        first: date,
        last: date,
        now: datetime,
        *,
        only: Collection[str] | None = None,
    ) -> None:
        """Make the days `first` to `last` of the models of days, and all others as a whole, as of `now` (UTC, naive)."""
        for model in self.models:
            if only is None or model.name in only:
                self._make_one(connection, model, first, last, now)

    def query(self, model: Model, first: date, last: date, now: datetime) -> str:
        """Return the model's SQL for these days. It is rendered once, which takes longer than a small query."""
        days = (first, last) if model.kind.is_incremental else (date.min, date.min)
        key = (model.name, *days, now)
        if key not in self._rendered:
            query = model.render_query(start=first, end=last, execution_time=str(now))
            self._rendered[key] = query.sql(dialect="duckdb")
        return self._rendered[key]

    def _make_one(
        self, connection: duckdb.DuckDBPyConnection, model: Model, first: date, last: date, now: datetime
    ) -> None:
        if not model.is_sql:
            engine = _Engine(connection, self.context.config.variables)
            frames = list(model.render(context=engine, start=first, end=last, execution_time=now))
            _fill(connection, model, frames, first, last)
        elif model.kind.is_view:
            connection.execute(f"CREATE OR REPLACE VIEW {model.name} AS {self.query(model, first, last, now)}")
        elif model.kind.is_incremental_by_time_range:
            _make_room(connection, model, first, last)
            connection.execute(f"INSERT INTO {model.name} BY NAME {self.query(model, first, last, now)}")
        elif model.kind.is_incremental_by_unique_key or model.kind.is_custom:
            _create(connection, model)
            _replace_keys(connection, model, self.query(model, first, last, now))
        else:
            connection.execute(f"CREATE OR REPLACE TABLE {model.name} AS {self.query(model, first, last, now)}")


@cache
def _load(root: Path) -> Context:
    """Load the models once a process, which takes seconds. No connection is made."""
    from searchflow.transformation.project import environment_kept, quiet

    with quiet(), environment_kept():
        from sqlmesh import Context
        from sqlmesh.core.config import Config
        from sqlmesh.core.config.loader import load_configs

        configs = load_configs("config", Config, [root], dotenv_path=root / "config.yaml.has-no-env")
        return Context(paths=[root], config=configs)


def _is_made(model: Model | None) -> bool:
    return model is not None and not model.kind.is_external


def _create(connection: duckdb.DuckDBPyConnection, model: Model) -> None:
    columns = ", ".join(f'"{name}" {kind.sql(dialect="duckdb")}' for name, kind in model.columns_to_types.items())
    connection.execute(f"CREATE TABLE IF NOT EXISTS {model.name} ({columns})")


def _replace_keys(connection: duckdb.DuckDBPyConnection, model: Model, query: str) -> None:
    """Replace rows by key, as SQLMesh's INCREMENTAL_BY_UNIQUE_KEY and our `changed_keys` do."""
    if model.kind.is_custom:
        properties = model.kind.materialization_properties
        key, kept = str(properties["key"]), f"NOT ({properties['gone']})"
    else:
        key, kept = model.unique_key[0].name, "TRUE"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE made AS {query}")
    connection.execute(f"DELETE FROM {model.name} WHERE {key} IN (SELECT {key} FROM made)")
    connection.execute(f"INSERT INTO {model.name} BY NAME SELECT * FROM made WHERE {kept}")


def _make_room(connection: duckdb.DuckDBPyConnection, model: Model, first: date, last: date) -> None:
    """Empty the model's table of these days, or of every row when the model is made as a whole."""
    _create(connection, model)
    if model.kind.is_incremental_by_time_range:
        column = model.time_column.column.name
        connection.execute(f"DELETE FROM {model.name} WHERE {column}::DATE BETWEEN ? AND ?", [first, last])
    else:
        connection.execute(f"DELETE FROM {model.name}")


def _fill(connection: duckdb.DuckDBPyConnection, model: Model, frames: list[Any], first: date, last: date) -> None:
    _make_room(connection, model, first, last)
    for frame in frames:
        connection.register("frame", frame)
        connection.execute(f"INSERT INTO {model.name} BY NAME SELECT * FROM frame")


class _Engine:
    """As much of SQLMesh's execution context as a Python model may use here: find a table or a variable, ask a query."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, variables: dict[str, Any]) -> None:
        self._connection, self._variables = connection, variables

    def with_variables(self, *_: object, **__: object) -> _Engine:
        return self

    def var(self, name: str, default: Any = None) -> Any:
        return self._variables.get(name, default)

    def resolve_table(self, name: str) -> str:
        return name

    def fetchdf(self, query: Any) -> Any:
        return self._connection.execute(query.sql(dialect="duckdb")).df()
