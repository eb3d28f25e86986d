"""Great Expectations on the warehouse's own engine: DuckDB with the lake attached read-only. Slow to import (3 s).

Out of the box every check on DuckDB fails: Great Expectations gives a connection back to its pool, which rolls back,
before it has fetched, and DuckDB then drops the result. Autocommit without a rollback cures it. All else here makes
it cheap and discreet: one pinned snapshot for a whole run, one query for all row rules of a table, and no failing
value is ever selected, so that none can appear in a result, a report or a log.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

import duckdb
import sqlalchemy as sa

with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # it imports what Python has deprecated
    import great_expectations as gx
    import great_expectations.expectations as gxe

from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.core.metric_function_types import MetricPartialFunctionTypes
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context import EphemeralDataContext
from great_expectations.data_context.types.base import DataContextConfig, ProgressBarsConfig
from great_expectations.datasource.fluent.sql_datasource import SQLDatasource
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation, ColumnMapExpectation
from great_expectations.expectations.metrics.map_metric_provider import (
    ColumnMapMetricProvider,
    column_condition_partial,
)
from great_expectations.expectations.metrics.metric_provider import metric_partial
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

from expectations.moments import Fill, Moments, literal
from expectations.scope import Days, is_local, on_days
from expectations.suite import Check, Suite
from searchflow import warehouse
from searchflow.settings import Settings

logging.getLogger("great_expectations").setLevel(logging.CRITICAL)  # a failing check is a result, not a log line

DRIVER = {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}
IN_MEMORY = {"class_name": "InMemoryStoreBackend"}
RESULT_FORMAT = {"result_format": "SUMMARY", "partial_unexpected_count": 0}


# --- DuckDB for Great Expectations ------------------------------------------------------------------------------


class DuckDBExecutionEngine(SqlAlchemyExecutionEngine):
    """A registry key of its own, so that DuckDB gets its own regular expressions."""


class LakeDatasource(SQLDatasource):
    """A SQL data source that runs `on_connect` on each new connection: that is how the lake gets attached."""

    type: Literal["lake"] = "lake"
    kwargs: dict[str, Any] = DRIVER
    on_connect: list[str] = []  # noqa: RUF012

    @property
    def execution_engine_type(self) -> Any:
        """Return our own engine, for our own regular expressions."""
        return DuckDBExecutionEngine

    def _create_engine(self) -> sa.Engine:
        engine, statements = super()._create_engine(), list(self.on_connect)

        @sa.event.listens_for(engine, "connect")
        def attach(connection: Any, _: Any) -> None:
            for statement in statements:
                connection.execute(statement)

        return engine

    def get_execution_engine(self) -> SqlAlchemyExecutionEngine:
        """Return the engine, on one connection for everything: attaching the lake a second time costs a fifth of a
        second."""
        engine: SqlAlchemyExecutionEngine | None = self._execution_engine  # type: ignore[has-type]
        if engine is None:
            engine = self._execution_engine = DuckDBExecutionEngine(engine=self.get_engine(), create_temp_table=False)
        return engine


class _MatchesOnDuckDB(ColumnMapMetricProvider):
    """A provider that uses `regexp_matches`; the operator `~` means a full match in DuckDB, unlike anywhere else."""

    condition_metric_name = "column_values.match_regex"
    condition_value_keys = ("regex",)

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _duckdb(cls, column: Any, regex: str, **_: Any) -> Any:  # noqa: N805
        return sa.func.regexp_matches(column, sa.literal(regex))


# --- expectations that count and never look ---------------------------------------------------------------------


class _CountsOnly(ColumnMapExpectation):
    """An expectation without the query for failing values: cheaper (one query per table, not per check), and private."""

    def get_validation_dependencies(self, *args: Any, **kwargs: Any) -> Any:
        dependencies = super().get_validation_dependencies(*args, **kwargs)
        for name in dependencies.get_metric_names():
            if name.endswith((".unexpected_values", ".unexpected_index_query", ".unexpected_index_list")):
                dependencies.remove_metric_configuration(name)
        return dependencies


class SearchflowNotNull(_CountsOnly, gxe.ExpectColumnValuesToNotBeNull):
    """Expectation: every row has a value."""


class SearchflowOneOf(_CountsOnly, gxe.ExpectColumnValuesToBeInSet):
    """Expectation: values are from a list."""


class SearchflowBetween(_CountsOnly, gxe.ExpectColumnValuesToBeBetween):
    """Expectation: numbers are in a range."""


class SearchflowMatches(_CountsOnly, gxe.ExpectColumnValuesToMatchRegex):
    """Expectation: texts match a regular expression."""


class _Aggregate(TableMetricProvider):
    """An aggregate expression; Great Expectations puts those of all checks of a table into one SELECT."""

    metric_name = "table.searchflow_aggregate"
    value_keys = ("expression",)

    @metric_partial(
        engine=DuckDBExecutionEngine,
        partial_fn_type=MetricPartialFunctionTypes.AGGREGATE_FN,
        domain_type=MetricDomainTypes.TABLE,
    )
    def _duckdb(
        cls,  # noqa: N805
        execution_engine: Any,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any],
    ) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        return sa.literal_column(metric_value_kwargs["expression"]), metric_domain_kwargs, {}


class SearchflowAggregate(BatchExpectation):
    """An aggregate over all rows whose `unexpected` is 0, or whose `broken` is false."""

    expression: str
    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.searchflow_aggregate",)
    success_keys: ClassVar[tuple[str, ...]] = ("expression",)

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: Any = None,
    ) -> dict[str, Any]:
        facts = {name: _plain(value) for name, value in metrics["table.searchflow_aggregate"].items()}
        wrong = facts.pop("broken") if "broken" in facts else facts["unexpected"]
        return {"success": not wrong, "result": _seen(facts, not wrong)}


class SearchflowNever(gxe.UnexpectedRowsExpectation):
    """An expectation whose SQL selects nothing. It runs once (the original runs it twice) and keeps the aggregates of
    its first row."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ("unexpected_rows_query.table",)

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: Any = None,
    ) -> dict[str, Any]:
        rows: list[dict[str, Any]] = metrics["unexpected_rows_query.table"]
        facts = {name: _plain(value) for name, value in rows[0].items()} if rows else {}
        return {"success": not rows, "result": _seen(facts, not rows)}


def _seen(facts: dict[str, Any], success: bool) -> dict[str, Any]:
    """Return a result with its facts, in words for Data Docs and one by one for our own report."""
    unexpected = facts.pop("unexpected", None)
    words = [f"{name.replace('_', ' ')} {value}" for name, value in facts.items()]
    if unexpected is not None:
        words.insert(0, f"{unexpected} unexpected")
    return {
        "unexpected_count": unexpected,
        "observed_value": "none unexpected" if success else ", ".join(words),
        "details": {"facts": facts},
    }


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: Great Expectations cannot serialize every decimal and timestamp by itself."""
    if value is None or isinstance(value, int | float | bool):
        return value
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    return str(value)


EXPECTATIONS: dict[str, type[Any]] = {
    "columns": gxe.ExpectTableColumnsToMatchSet,
    "row_count": gxe.ExpectTableRowCountToBeBetween,
    "not_null": SearchflowNotNull,
    "one_of": SearchflowOneOf,
    "between": SearchflowBetween,
    "matches": SearchflowMatches,
    "aggregate": SearchflowAggregate,
    "never": SearchflowNever,
}


def expectation(check: Check, fill: Fill) -> Any:
    """Return a check as an expectation of Great Expectations. Data Docs show the description: sentence and severity."""
    arguments = dict(check.rule.arguments)
    for sql in arguments.keys() & {"unexpected_rows_query", "expression"}:
        arguments[sql] = fill(arguments[sql])
    return EXPECTATIONS[check.rule.kind](
        **arguments,
        severity=check.severity,
        description=f"{check.sentence} ({check.severity})".replace("$", "$$"),
        meta={"check": check.name, "sentence": check.sentence, "severity": check.severity},
    )


# --- one run ----------------------------------------------------------------------------------------------------


class CheckSession:
    """One context and one data source for all suites of a run, on one snapshot of the lake.

    Use as a context manager: on leaving, its connection is closed, so that no half-read result holds anything.
    """

    def __init__(self, settings: Settings, *, snapshot: int, now: datetime, run_id: str) -> None:
        self._context = new_context()
        self._identifier = RunIdentifier(run_name=run_id, run_time=now.astimezone(UTC))
        self._lake: LakeDatasource = self._context.data_sources.add_lake(
            "lake",
            connection_string="duckdb:///:memory:",
            kwargs={**DRIVER, "connect_args": {"config": {"extension_directory": str(settings.extensions_dir)}}},
            # Every check of a table reads the same files: their footers are read once.
            on_connect=["SET parquet_metadata_cache = true", *warehouse.attach_statements(settings, snapshot=snapshot)],
        )
        self._plain = self._connect()
        self._moments = Moments(
            self._plain, snapshot, {"now": literal(now), "history_start": literal(settings.history_start)}
        )

    def run(self, suite: Suite, days: Days | None = None) -> dict[str, Any]:
        """Check one table; with `days`, look only at their rows where that is enough.

        A check that crashes is a result too; only a lost connection raises.
        """
        schema, table = suite.table.split(".")
        # Great Expectations would rather have one data source a schema; one for all is a connection less each.
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            whole = self._lake.add_table_asset(
                suite.name, table_name=table, schema_name=f"{warehouse.CATALOG}.{schema}"
            )
            if days is None:
                return self._run(suite, suite.name, whole, suite.checks)
            found = self._run(suite, suite.name, whole, [check for check in suite.checks if not is_local(check)])
            changed = self._lake.add_query_asset(
                f"{suite.name}, {days.words}",
                query=f"SELECT * FROM {warehouse.CATALOG}.{suite.table} WHERE {days.condition}",
            )
            local = [on_days(check, suite) for check in suite.checks if is_local(check)]
            return together(found, self._run(suite, changed.name, changed, local))

    def fill(self, suite: Suite) -> Fill:
        """Return the function that puts moments, and other marts as this one was made from them, into the SQL of its
        rules."""
        return self._moments.fill(suite.table)

    def _run(self, suite: Suite, name: str, asset: Any, checks: Sequence[Check]) -> dict[str, Any]:
        expectations = [expectation(check, self.fill(suite)) for check in checks]
        definition = gx.ValidationDefinition(
            name=name,
            data=asset.add_batch_definition_whole_table("all rows"),
            suite=self._context.suites.add(gx.ExpectationSuite(name, expectations=expectations)),
        )
        found: ExpectationSuiteValidationResult = self._context.validation_definitions.add(definition).run(
            result_format=RESULT_FORMAT, run_id=self._identifier
        )
        return found.to_json_dict()

    @contextmanager
    def connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield plain DuckDB on the database that the checks use: the lake at the run's snapshot, for reading."""
        connection = self._connect()
        yield connection
        connection.close()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        with self._lake.get_engine().connect() as pooled:
            driver: Any = pooled.connection.driver_connection
            connection: duckdb.DuckDBPyConnection = driver.duplicate()
        connection.execute(f"USE {warehouse.CATALOG}")
        return connection

    def __enter__(self) -> CheckSession:
        return self

    def __exit__(self, *_: object) -> None:
        self._plain.close()
        self._lake.get_engine().dispose()


def new_context(sites: dict[str, Any] | None = None) -> EphemeralDataContext:
    """Return a context that keeps everything in memory; `sites` are Data Docs sites to build."""
    stores = {
        "expectations": {"class_name": "ExpectationsStore", "store_backend": IN_MEMORY},
        "checkpoints": {"class_name": "CheckpointStore", "store_backend": IN_MEMORY},
        "validation_definition_store": {"class_name": "ValidationDefinitionStore", "store_backend": IN_MEMORY},
        "results": {"class_name": "ValidationResultsStore", "store_backend": IN_MEMORY},
    }
    config = DataContextConfig(
        config_version=4.0,
        analytics_enabled=False,
        plugins_directory=None,
        progress_bars=ProgressBarsConfig(globally=False),
        expectations_store_name="expectations",
        checkpoint_store_name="checkpoints",
        validation_results_store_name="results",
        stores=stores,
        data_docs_sites=sites or {},
    )
    return gx.get_context(project_config=config, mode="ephemeral")


def together(whole: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Merge two results about one table into one, with the statistics that Data Docs show."""
    results = [*whole["results"], *part["results"]]
    held = sum(bool(result["success"]) for result in results)
    statistics = {
        "evaluated_expectations": len(results),
        "successful_expectations": held,
        "unsuccessful_expectations": len(results) - held,
        "success_percent": 100.0 * held / len(results),
    }
    return whole | {"results": results, "success": held == len(results), "statistics": statistics}
