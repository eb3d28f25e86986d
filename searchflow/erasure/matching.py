"""The search for values in the lake that name the person.

It reads each column once, whatever the number of identifiers (see `terms`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from searchflow.erasure.terms import Terms
from searchflow.quoting import identifier, literal

ROWS_A_READ = 100_000
USERS = ("user_id", "visitor_id", "key", "idempotency_key", "unit")
SESSIONS = ("session_id", "session_key", "touchpoint_id", "visitor_id")
IDENTIFIERS = ("id", "key", "email")
"""The endings of columns with identifiers; in other columns a plain word may happen to equal a person's id."""


def perhaps(
    connection: duckdb.DuckDBPyConnection, query: str, values: Mapping[str, object] | None, terms: Terms
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query whose last column, a text, may hold an identifier."""
    reader = connection.execute(query, dict(values or {})).to_arrow_reader(ROWS_A_READ)
    for batch in reader:
        frame = pl.DataFrame(pl.from_arrow(batch))
        yield from frame.filter(terms.perhaps_in(frame.to_series(-1))).iter_rows()


def values_about(
    connection: duckdb.DuckDBPyConnection, table: str, columns: list[str], terms: Terms
) -> dict[str, set[str]]:
    """Return column -> its values that name the person; columns without such a value are left out.

    A column of identifiers holds them, or keys made of them. A text of our own tables (schema `ops`) may also mention one.
    """
    ours = table.startswith("ops.")
    wanted = [name for name in columns if ours or name in USERS or name in SESSIONS or name.endswith(IDENTIFIERS)]
    found: dict[str, set[str]] = {}
    if not wanted:
        return found
    listed = ", ".join(identifier(name) for name in wanted)
    for batch in connection.execute(f"SELECT {listed} FROM {table}").to_arrow_reader(ROWS_A_READ):
        frame = pl.DataFrame(pl.from_arrow(batch))
        for name in wanted:
            named = _naming(frame[name].drop_nulls().unique(), name, terms, ours=ours)
            if named:
                found.setdefault(name, set()).update(named)
    return found


def _naming(values: pl.Series, column: str, terms: Terms, *, ours: bool) -> set[str]:
    named: set[str] = set()
    if column in USERS:
        named |= set(values.filter((values == terms.user_id) | values.str.starts_with(f"{terms.user_id}:")))
    if column in SESSIONS and terms.sessions:
        session = values.str.replace("^anon:", "").str.split(":").list.first()
        named |= set(values.filter(values.is_in(terms.sessions) | session.is_in(terms.sessions)))
    if ours or column.endswith(IDENTIFIERS):
        holds = terms.named_in if ours else terms.is_key
        named |= {text for text in values.filter(terms.perhaps_in(values)) if holds(text)}
    return named


def condition(connection: duckdb.DuckDBPyConnection, table: str, columns: list[str], terms: Terms) -> str | None:
    """Return SQL that is true for a table's rows about the person; None when there are none.

    The SQL works for as long as the connection is open, since it reads a temporary table.
    """
    parts = []
    for column, values in values_about(connection, table, columns, terms).items():
        place = f"{table}.{column}"
        _note(connection, place, sorted(values))
        parts.append(
            f"coalesce({identifier(column)} IN (SELECT value FROM temp.erased_found WHERE place = {literal(place)}), FALSE)"
        )
    return " OR ".join(parts) or None


def replace(connection: duckdb.DuckDBPyConnection, table: str, key: str, column: str, texts: Mapping[str, str]) -> None:
    """Set a column to the text that `texts` has for the row's key."""
    _fill(connection, "erased_texts", {"key": list(texts), "text": list(texts.values())})
    connection.execute(
        f'UPDATE {table} SET "{column}" = made.text FROM temp.erased_texts AS made WHERE {table}."{key}" = made.key'
    )


def _note(connection: duckdb.DuckDBPyConnection, place: str, values: list[str]) -> None:
    """Keep the values of a place in a temporary table, for a condition."""
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS erased_found (place VARCHAR, value VARCHAR)")
    connection.execute("DELETE FROM temp.erased_found WHERE place = ?", [place])
    connection.register("erased_values", _table({"place": [place] * len(values), "value": values}))
    connection.execute("INSERT INTO temp.erased_found FROM erased_values")
    connection.unregister("erased_values")


def _fill(connection: duckdb.DuckDBPyConnection, name: str, columns: Mapping[str, list[str]]) -> None:
    connection.register("erased_values", _table(columns))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT DISTINCT * FROM erased_values")
    connection.unregister("erased_values")


def _table(columns: Mapping[str, list[str]]) -> pa.Table:
    return pa.table({name: pa.array(values, type=pa.string()) for name, values in columns.items()})
