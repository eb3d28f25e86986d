"""The commands that look into the data: query and tables."""

from __future__ import annotations

import re
from typing import Annotated, Any

import duckdb
import typer

from searchflow import confined, read_only, spill, warehouse
from searchflow.cli import listing
from searchflow.cli.interrupt import ended_by_ctrl_c
from searchflow.cli.output import Json, print_json, print_table
from searchflow.cli.query_errors import explained
from searchflow.cli.support import settings_of_command, with_servers
from searchflow.errors import UsageError
from searchflow.ops import audit_log

MAX_ROWS_SHOWN = 200
LEDGER = re.compile(r"\bledger\W+activation\b", re.IGNORECASE)
_SHOW_TABLES = re.compile(r"\s*SHOW\s+(?:ALL\s+)?TABLES(?:\s+(?:FROM|IN)\s+\"?(\w+)\"?)?\s*;?\s*", re.IGNORECASE)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(epilog='Example: `searchflow query "SELECT * FROM marts.mart_kpi_daily ORDER BY 1 DESC LIMIT 7"`')(
        query
    )
    app.command(epilog="Example: `searchflow tables mart_kpi_daily`")(tables)


def query(
    sql: Annotated[
        str,
        typer.Argument(
            help="One SELECT on raw.*, marts.*, ops.* and so on, or on ledger.activation.sync_rows; or SHOW TABLES, DESCRIBE."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Run read-only SQL on a consistent snapshot of the warehouse. It cannot write, read files or reach the network."""
    settings = with_servers(settings_of_command())
    with spill.folder(settings) as place, warehouse.connect(settings, read_only=True, spill=place) as connection:
        if shown := _SHOW_TABLES.fullmatch(sql):  # DuckDB itself would show only one schema, which is empty
            _print(_shown(connection, shown[1]), ["name", "description"], as_json)
            return
        statement = _only_select(connection, sql)
        if LEDGER.search(sql):  # the ledger, with what syncs sent, is opened only for a query that names it
            from activations.ledger import make_readable

            make_readable(connection, settings)
        confined.confine(connection, settings)
        tables = confined.tables_named(connection, sql)  # for the log, when the query cannot even be bound
        try:
            tables = read_only.tables_read(connection, statement)
            with ended_by_ctrl_c(connection):
                cursor = connection.execute(statement)
                names = [column[0] for column in cursor.description or []]
                rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except duckdb.Error as error:  # it may quote a value, so it is a read too
            audit_log.append_query(settings, sql, None, tables=tables, problem="failed")
            raise explained(connection, sql, error) from None
        except UsageError:
            audit_log.append_query(settings, sql, None, tables=tables, problem="refused")
            raise
    audit_log.append_query(settings, sql, len(rows), tables=tables)
    _print(rows, names, as_json)


def _print(rows: list[dict[str, Any]], names: list[str], as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    print_table(f"{len(rows):,} rows", rows[:MAX_ROWS_SHOWN], columns=names)
    if len(rows) > MAX_ROWS_SHOWN:
        typer.echo(f"The first {MAX_ROWS_SHOWN} are shown; `--json` gives all.")


def _shown(connection: duckdb.DuckDBPyConnection, schema: str | None) -> list[dict[str, Any]]:
    """Return the answer to SHOW TABLES: whole names, as FROM takes them."""
    found = listing.tables(connection)
    kept = [row for row in found if schema is None or row["table"].startswith(f"{schema.lower()}.")]
    if schema is not None and not kept:
        there = ", ".join(dict.fromkeys(row["table"].partition(".")[0] for row in found))
        raise UsageError(f"There is no schema {schema}. Name one of {there}.")
    return [{"name": row["table"], "description": row["description"]} for row in kept]


def _only_select(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise explained(connection, sql, error) from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise UsageError("Only one SELECT is allowed: this command never changes anything. Split or rewrite it.")
    refused = sorted(confined.table_functions(connection, sql) - confined.HARMLESS_TABLE_FUNCTIONS)
    if refused:
        raise UsageError(
            f"The function {refused[0]} is not allowed here: it reaches beyond the tables. Use tables only."
        )
    return sql


def tables(
    name: Annotated[
        str | None, typer.Argument(help="Show the columns of this table; its schema may be left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the tables of the warehouse: what each holds, and how fresh it is. With a name, its columns and what they mean."""
    settings = with_servers(settings_of_command())
    with warehouse.connect(settings, read_only=True) as connection:
        rows = listing.tables(connection) if name is None else listing.columns(connection, name)
    if as_json:
        print_json(rows)
    elif name is None:
        print_table("Tables", rows, columns=("table", "description", "last_event_at", "last_loaded_at"))
        typer.echo("Times are UTC. `searchflow tables NAME` shows the columns of one table.")
    else:
        print_table(name, rows, columns=("column", "type", "description"))
