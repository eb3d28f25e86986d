"""The command that looks into the data: query."""

from __future__ import annotations

import re
from typing import Annotated

import duckdb
import typer

from searchflow import warehouse
from searchflow.cli.output import Json, print_json, print_table
from searchflow.cli.support import settings_of_command, with_servers
from searchflow.errors import UsageError
from searchflow.ops import audit_log

MAX_ROWS_SHOWN = 200
LEDGER = re.compile(r"\bledger\W+activation\b", re.IGNORECASE)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog='Example: `searchflow query "SELECT * FROM marts.mart_kpi_daily ORDER BY 1 DESC LIMIT 7"`')(
        query
    )


def query(
    sql: Annotated[
        str, typer.Argument(help="One SELECT on raw.*, marts.*, ops.* and so on, or on ledger.activation.sync_rows.")
    ],
    as_json: Json = False,
) -> None:
    """Run read-only SQL on the warehouse, on a consistent snapshot. It cannot write, read files or reach the network."""
    settings = with_servers(settings_of_command())
    with warehouse.connect(settings, read_only=True) as connection:
        statement = _only_select(connection, sql)
        tables = warehouse.tables_named(connection, sql)
        if LEDGER.search(sql):  # what syncs sent: opened only for those who ask
            from activations.ledger import make_readable

            make_readable(connection, settings)
        warehouse.confine(connection, settings)
        try:
            cursor = connection.execute(statement)
            names = [column[0] for column in cursor.description or []]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except duckdb.Error as error:  # it may quote a value, so it is a read too
            audit_log.append_query(settings, sql, None, tables=tables, problem="failed")
            raise _explained(error) from None
    audit_log.append_query(settings, sql, len(rows), tables=tables)
    if as_json:
        print_json(rows)
        return
    print_table(f"{len(rows):,} rows", rows[:MAX_ROWS_SHOWN], columns=names)
    if len(rows) > MAX_ROWS_SHOWN:
        typer.echo(f"The first {MAX_ROWS_SHOWN} are shown; `--json` gives all.")


def _only_select(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise _explained(error) from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise UsageError("Only one SELECT is allowed: this command never changes anything. Split or rewrite it.")
    refused = sorted(warehouse.table_functions(connection, sql) - warehouse.HARMLESS_TABLE_FUNCTIONS)
    if refused:
        raise UsageError(
            f"The function {refused[0]} is not allowed here: it reaches beyond the tables. Use tables only."
        )
    return sql


def _explained(error: duckdb.Error) -> UsageError:
    text = str(error)
    missing = re.search(r"Table with name (\S+) does not exist", text)
    if missing:
        return UsageError(
            f"There is no table {missing.group(1)}. Run `searchflow transform` to build models, or check the name."
        )
    first = text.splitlines()[0][:300]
    if isinstance(error, duckdb.InternalException):  # the query may be right: decision 0021
        return UsageError(
            f"DuckDB itself failed: {first}. Run the query again; take a total from a subquery, not from an empty OVER."
        )
    return UsageError(f"The query cannot run: {first}. Correct it and try again.")
