"""Marks: which columns are personal. Each is marked once, where it is declared; the mark follows the models' column
lineage.

Anything that no mark judges counts as personal. A raw table's document may hold anything, so it is personal as a whole,
and so is every column that a model takes from it by a way that no declaration knows: the whole document, or a field
that is not declared (docs/decisions/0031-one-declaration-an-event-type.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

import duckdb

from searchflow.event_types import EVENT_TYPES
from searchflow.settings import Settings
from searchflow.tables import EVENT_COLUMNS, PROVENANCE_COLUMNS, RAW_TABLES
from searchflow.transformation.lineage import Node, lineage_of_all
from searchflow.warehouse import CATALOG

DECLARED: dict[str, tuple[str, ...]] = {
    # The contract: every column of a profile but user_id is personal.
    "raw.user_profiles": ("email", "name", "locale", "time_zone", "country", "marketing_consent"),
    # What a visitor typed, for example, where it first is a column of its own.
    **{each.staging_view: each.personal_fields for each in EVENT_TYPES.values() if each.personal_fields},
}
"""Table -> columns whose content is about a person. Whatever a model makes from them is personal too."""
DOCUMENT_COLUMNS = ("payload", "raw_payload")
"""Columns of the platform's raw tables that hold whole documents as received."""
DOCUMENTS: dict[str, tuple[str, ...]] = {
    f"raw.{table}": tuple(name for name in DOCUMENT_COLUMNS if f" {name} " in f" {' '.join(columns.split())}")
    for table, columns in RAW_TABLES.items()
}
"""Raw table -> its documents. They are masked; of the columns taken from them each is judged by its field."""
JUDGED = frozenset(part.split()[0] for part in f"{EVENT_COLUMNS},{PROVENANCE_COLUMNS}".split(",")) - {*DOCUMENT_COLUMNS}
"""Columns that are public in any raw table: ids, times, provenance."""
SENT: dict[str, tuple[str, ...]] = {"ops.sync_rejections": ("payload",)}
"""Rows as they were sent to a destination: an export leaves them out."""
USERS: dict[str, tuple[str, ...]] = {
    **{each.raw_table: ("user_id",) for each in EVENT_TYPES.values()},
    "raw.user_profiles": ("user_id",),
}
"""Table -> columns that say who a user is. Each text that a model makes from them can hold a user id."""
KEYS: dict[str, tuple[str, ...]] = {
    "ops.sync_assignments": ("unit",),
    "ops.sync_rejections": ("key",),
    "ops.quarantined_rows": ("key",),
}
"""Table that no model makes -> its keys: the key of a row that is about a user is the user's id."""
PLAIN = re.compile(
    r"(BOOLEAN|DATE|DOUBLE|FLOAT|U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DECIMAL.*|TIME.*|INTERVAL|UUID)", re.I
)
"""Column types that hold no document."""
_FIELD = re.compile(r'\$\.(?:"([^"]+)"|([^.\[]+))')


def personal_columns(settings: Settings, lake: duckdb.DuckDBPyConnection | None = None) -> dict[str, dict[str, str]]:
    """Return table -> personal column -> the declared column that it comes from ("raw.user_profiles.email").

    With a connection to the lake, the result includes columns of raw tables that only the lake knows.
    """
    found = marked(lineage_of_all(settings))
    for table, column in unjudged(lake) if lake is not None else ():
        found.setdefault(table, {}).setdefault(column, f"{table}.{column}")
    return found


def unjudged(lake: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Return columns of raw tables in the lake that may hold documents and that no mark judges: (table, column)."""
    rows = lake.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE database_name = ? AND schema_name = 'raw' "
        "ORDER BY ALL",
        [CATALOG],
    ).fetchall()
    return [
        (f"raw.{table}", column)
        for table, column, kind in rows
        if f"raw.{table}" not in DOCUMENTS and column not in JUDGED and not PLAIN.fullmatch(kind)
    ]


def marked(nodes: Iterable[Node]) -> dict[str, dict[str, str]]:
    """Return the personal columns among these, each with the declared column or document that it comes from."""
    found: dict[str, dict[str, str]] = {}
    for declared in (DECLARED, DOCUMENTS):
        for table, columns in declared.items():
            found.setdefault(table, {}).update({column: f"{table}.{column}" for column in columns})
    for node in nodes:
        origin = _origin(node)
        if origin is not None:
            found.setdefault(node.table, {}).setdefault(node.column, origin)
    return found


def identifying(nodes: Iterable[Node]) -> dict[str, set[str]]:
    """Return table -> columns that can hold a user id. A column for which ids only decide, like a user's newest
    country, holds none.
    """
    found = {table: set(columns) for table, columns in (*USERS.items(), *KEYS.items())}
    for node in nodes:
        if any(each.column in USERS.get(each.table, ()) for each in _reached(node, lambda at: at.carried)):
            found.setdefault(node.table, set()).add(node.column)
    return found


def _reached(node: Node, below: Callable[[Node], list[Node]]) -> Iterator[Node]:
    """Return what a column is made from, at any distance."""
    pending, seen = list(below(node)), set()
    while pending:
        parent = pending.pop()
        yield parent
        if (parent.table, parent.column) not in seen:
            seen.add((parent.table, parent.column))
            pending += below(parent)


def _origin(node: Node) -> str | None:
    """Return the declared column that a column is made from, or else the part of a document that nothing declares
    public.
    """
    taken = None
    for parent in _reached(node, lambda at: at.parents):
        if parent.column in DECLARED.get(parent.table, ()):
            return f"{parent.table}.{parent.column}"
        if taken is None and _is_personal_part(parent.table, parent.column):
            taken = f"{parent.table}.{parent.column}"
    return taken


_FIELDS = {each.raw_table: each.fields for each in EVENT_TYPES.values()}
_OF_EVERY_EVENT = ("event_id", "event_type", "timestamp", "session_id", "user_id")


def _is_personal_part(table: str, column: str) -> bool:
    """Return whether nothing says that a part is public: a whole document (`payload`), or a field (`payload $.email`)."""
    document, _, path = column.partition(" ")
    if table not in DOCUMENTS:  # a raw table of the company's own: what a field is taken from is a document
        return table.startswith("raw.") and bool(path)
    if document not in DOCUMENTS[table]:
        return False
    named = _FIELD.match(path)
    name = (named[1] or named[2]) if named else ""
    declared = _FIELDS.get(table, {}).get(name)
    return name not in _OF_EVERY_EVENT and (declared is None or declared.personal)
