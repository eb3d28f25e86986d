"""The tables of the warehouse as people and queries find them: names, what they hold, how fresh they are, columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

import duckdb

from searchflow import warehouse
from searchflow.errors import UsageError
from searchflow.ops.descriptions import DESCRIPTIONS

SCHEMAS = ("marts", "activation", "intermediate", "staging", "raw", "ops", "seeds")
"""The schemas that a query may read, the most useful first."""
_MOST_GUESSES = 3


def names(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return every table and view, the most useful schemas first."""
    rows = connection.execute(
        "SELECT table_schema || '.' || table_name FROM information_schema.tables "
        "WHERE table_catalog = ? AND list_contains(?, table_schema) "
        "ORDER BY list_position(?, table_schema), table_name",
        [warehouse.CATALOG, list(SCHEMAS), list(SCHEMAS)],
    ).fetchall()
    return [name for (name,) in rows]


def tables(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return one row for each table: what it holds, and how fresh it is (empty before the models were first made)."""
    from dashboards import definitions

    found, models = names(connection), definitions.models()
    fresh: dict[str, tuple[Any, Any]] = {}
    if "ops.freshness" in found:
        rows = connection.execute("SELECT table_name, last_event_ts, last_loaded_at FROM ops.freshness").fetchall()
        fresh = {name: (event, loaded) for name, event, loaded in rows}
    listed = []
    for name in found:
        event, loaded = fresh.get(name, (None, None))
        model = models.get(name)
        listed.append(
            {
                "table": name,
                "description": (model.sentence if model else "") or DESCRIPTIONS.get(name, ""),
                "last_event_at": event,
                "last_loaded_at": loaded,
            }
        )
    return listed


def columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[dict[str, Any]]:
    """Return one row for each column of a table, which may be named without its schema.

    Raises:
        UsageError: there is no such table; names the most similar ones.
    """
    from dashboards import definitions

    name = resolved(table, names(connection))
    model = definitions.models().get(name)
    rows = connection.execute(
        "SELECT column_name, lower(data_type) FROM information_schema.columns "
        "WHERE table_catalog = ? AND table_schema || '.' || table_name = ? ORDER BY ordinal_position",
        [warehouse.CATALOG, name],
    ).fetchall()
    said = model.columns if model else {}
    return [{"column": column, "type": kind, "description": said.get(column, "")} for column, kind in rows]


def column_names(connection: duckdb.DuckDBPyConnection, tables: Sequence[str]) -> list[str]:
    """Return the columns of some tables, each once."""
    rows = connection.execute(
        "SELECT DISTINCT column_name FROM information_schema.columns "
        "WHERE table_catalog = ? AND list_contains(?, table_schema || '.' || table_name) ORDER BY 1",
        [warehouse.CATALOG, list(tables)],
    ).fetchall()
    return [name for (name,) in rows]


def resolved(table: str, known: Sequence[str]) -> str:
    """Return the whole name of a table, whose schema may be left out when only one schema has it.

    Raises:
        UsageError: there is no such table, or there are several; names them.
    """
    same = [name for name in known if table.lower() in (name.lower(), name.lower().partition(".")[2])]
    if len(same) == 1:
        return same[0]
    raise UsageError(no_table(table, known))


def no_table(table: str, known: Sequence[str]) -> str:
    """Return a message: there is no such table, these may have been meant, and this is what to do next."""
    from dashboards import definitions

    if table in definitions.models():
        return f"There is no table {table} yet. Run `searchflow transform` to build the models."
    return f"There is no table {table}.{guess(nearest_tables(table, known))} `searchflow tables` lists what there is."


def nearest_tables(table: str, known: Sequence[str]) -> list[str]:
    """Return the tables that may have been meant: those of that name in another schema, else those of a similar name."""
    schema, _, wanted = table.lower().rpartition(".")
    same = [name for name in known if name.partition(".")[2].lower() == wanted]
    if same:
        return same[:_MOST_GUESSES]
    near = nearest(wanted, [name.partition(".")[2] for name in known])
    found = [name for each in near for name in known if name.partition(".")[2] == each]
    found.sort(key=lambda name: not name.startswith(f"{schema}."))  # those of the schema that was named first
    return list(dict.fromkeys(found))[:_MOST_GUESSES]


def nearest(wanted: str, known: Iterable[str]) -> list[str]:
    """Return the names most similar to a wrong one: first by their letters, then those that contain it or are a part of it."""
    by_lower = {name.lower(): name for name in known}
    close = get_close_matches(wanted.lower(), by_lower, n=_MOST_GUESSES, cutoff=0.6)
    parts = [name for name in by_lower if len(wanted) > 2 and (wanted.lower() in name or name in wanted.lower())]
    return [by_lower[name] for name in dict.fromkeys([*close, *parts])][:_MOST_GUESSES]


def guess(found: Sequence[str]) -> str:
    """Return the question whether one of these was meant; empty when there are none."""
    return f" Did you mean {' or '.join(found)}?" if found else ""
