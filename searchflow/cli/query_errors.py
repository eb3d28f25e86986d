"""The errors of a person's query, each in one line: which names are wrong, and which may have been meant."""

from __future__ import annotations

import re

import duckdb

from searchflow import confined
from searchflow.cli import listing
from searchflow.errors import UsageError

_NO_TABLE = re.compile(r"Table with name \"?([^\s\"]+)\"? does not exist")
_NO_COLUMN = re.compile(
    r"Referenced column \"([^\"]+)\" not found"
    r"|does not have a column named \"([^\"]+)\""
    r"|Column \"([^\"]+)\" (?:in \w+ list not found|does not exist)"
)
_NO_ALIAS = re.compile(r"Referenced table \"([^\"]+)\" not found")
_QUOTED = re.compile(r"\"([^\"]+)\"")
_LONGEST = 300


def explained(connection: duckdb.DuckDBPyConnection, sql: str, error: duckdb.Error) -> UsageError:
    """Return an error that tells the person who wrote the query what to correct."""
    text = str(error)
    first = text.splitlines()[0][:_LONGEST]
    if isinstance(error, duckdb.InternalException):  # the query may be right: decision 0021
        return UsageError(
            f"DuckDB itself failed: {first}. Run the query again; take a total from a subquery, not from an empty OVER."
        )
    if missing := _NO_TABLE.search(text):
        return UsageError(listing.no_table(_as_written(missing[1], sql), listing.names(connection)))
    if missing := _NO_COLUMN.search(text):
        return UsageError(_no_column(connection, sql, next(filter(None, missing.groups())), text))
    if missing := _NO_ALIAS.search(text):
        return UsageError(_no_alias(connection, missing[1], text))
    meant = [
        name for line in text.splitlines()[1:] if line.startswith("Did you mean") for name in _QUOTED.findall(line)
    ]
    return UsageError(f"The query cannot run: {first.rstrip('.')}.{listing.guess(meant)} Correct it and try again.")


def _as_written(table: str, sql: str) -> str:
    """Return the table with its schema, which DuckDB leaves out of its message."""
    if "." in table:
        return table
    written = re.search(rf"\b(\w+)\s*\.\s*\"?{re.escape(table)}\b", sql, re.IGNORECASE)
    return f"{written[1]}.{table}" if written else table


def _no_column(connection: duckdb.DuckDBPyConnection, sql: str, column: str, text: str) -> str:
    """Return a message about a missing column, with similar columns of the query's tables, or else DuckDB's proposals."""
    read = sorted(confined.tables_named(connection, sql))
    meant = listing.nearest(column, listing.column_names(connection, read))
    proposed = [line for line in text.splitlines() if line.startswith("Candidate bindings")]
    meant = meant or [name for line in proposed for name in _QUOTED.findall(line)]
    where = read[0] if len(read) == 1 else "NAME"
    return f"There is no column {column}.{listing.guess(meant[:3])} `searchflow tables {where}` lists the columns of a table."


def _no_alias(connection: duckdb.DuckDBPyConnection, name: str, text: str) -> str:
    """Return a message about a column's prefix that is neither a table of the query nor an alias in it."""
    known = [
        each for line in text.splitlines() if line.startswith("Candidate tables") for each in _QUOTED.findall(line)
    ]
    return f"The query reads no table {name}.{listing.guess(known[:3])} Add it to FROM, or use a name that is there."
