"""Views that everyone may see: `masked.<schema>_<table>` is the table without its personal values.

Texts become dots, other values become null. User ids stay, because they say nothing without the tables that are masked
here. Data that leaves the house under a pseudonym (exports, demos) goes through `pseudonym`.
"""

from __future__ import annotations

import hashlib
import hmac

import duckdb

from searchflow import keys, warehouse
from searchflow.quoting import identifier, literal
from searchflow.settings import Settings
from searchflow.transformation.marks import personal_columns

MASK = "•••"
SCHEMA = "masked"


def pseudonym(settings: Settings, user_id: str) -> str:
    """Return a name for a user that only the holder of the key can make again: HMAC-SHA256, 16 bytes as hex.

    >>> pseudonym(settings, "u-1")  # doctest: +SKIP
    'p-5f0c…'
    """
    key = keys.derived(settings, "pseudonyms")
    return "p-" + hmac.new(key, user_id.encode(), hashlib.sha256).hexdigest()[:32]


def make_views(settings: Settings) -> list[str]:
    """Make a masked view of every table that holds personal values. Return the views' names. Run this after models changed."""
    made = []
    with warehouse.connect(settings) as connection:
        marks = personal_columns(settings, connection)
        with warehouse.transaction(connection):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            for table, columns in sorted(marks.items()):
                types = _columns(connection, table)
                if types:
                    name = f"{SCHEMA}.{table.replace('.', '_')}"
                    shown = ", ".join(_shown(column, kind, column in columns) for column, kind in types.items())
                    connection.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT {shown} FROM {table}")
                    made.append(name)
    return made


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    try:
        return {row[0]: row[1] for row in connection.execute(f"DESCRIBE {table}").fetchall()}
    except duckdb.CatalogException:
        return {}  # a model that was never built


def _shown(column: str, kind: str, personal: bool) -> str:
    name = identifier(column)
    if not personal:
        return name
    if kind == "VARCHAR":
        return f"CASE WHEN {name} IS NOT NULL THEN {literal(MASK)} END AS {name}"
    return f"CAST(NULL AS {kind}) AS {name}"
