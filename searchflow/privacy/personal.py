"""Which columns are personal: marked once, where they are declared; the mark follows the models' column lineage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from searchflow.settings import Settings

if TYPE_CHECKING:
    from searchflow.transformation.lineage import Node

DECLARED: dict[str, tuple[str, ...]] = {
    # The contract: every column of a profile but user_id is personal.
    "raw.user_profiles": ("email", "name", "locale", "time_zone", "country", "marketing_consent"),
    # What a visitor typed, where it first is a column of its own.
    "staging.stg_search_events": ("query",),
}
"""Table -> columns whose content is about a person. Whatever a model makes from them is personal too."""
DOCUMENTS: dict[str, tuple[str, ...]] = {
    "raw.user_profiles": ("payload",),
    "raw.search_events": ("payload",),
    "raw.click_events": ("payload",),
    "raw.conversion_events": ("payload",),
    "raw.dead_letters": ("raw_payload",),
}
"""Whole documents as received. They are masked, but do not pass their mark on: the columns taken from them are judged one
by one, in `DECLARED`."""

SENT: dict[str, tuple[str, ...]] = {"ops.sync_rejections": ("payload",)}
"""Rows as they were sent to a destination: an export leaves them out."""
USERS: dict[str, tuple[str, ...]] = {
    "raw.search_events": ("user_id",),
    "raw.click_events": ("user_id",),
    "raw.conversion_events": ("user_id",),
    "raw.user_profiles": ("user_id",),
}
"""Table -> columns that say who a user is. Each text that a model makes from them can hold a user id."""
KEYS: dict[str, tuple[str, ...]] = {
    "ops.sync_assignments": ("unit",),
    "ops.sync_rejections": ("key",),
    "ops.quarantined_rows": ("key",),
}
"""The same in tables that no model makes: the key of a row that is about a user is the user's id."""


def personal_columns(settings: Settings) -> dict[str, dict[str, str]]:
    """Table -> personal column -> the declared column that it comes from ("raw.user_profiles.email")."""
    from searchflow.transformation.lineage import lineage_of_all

    return marked(lineage_of_all(settings))


def marked(nodes: Iterable[Node]) -> dict[str, dict[str, str]]:
    """The same, of these columns and what each is made from."""
    found = _followed(nodes, DECLARED)
    for table, columns in DOCUMENTS.items():
        found.setdefault(table, {}).update({column: f"{table}.{column}" for column in columns})
    return found


def identifying(nodes: Iterable[Node]) -> dict[str, set[str]]:
    """Table -> columns that can hold a user id, numbers that are made from ids included."""
    found = {table: set(columns) for table, columns in _followed(nodes, USERS).items()}
    for table, columns in KEYS.items():
        found.setdefault(table, set()).update(columns)
    return found


def _followed(nodes: Iterable[Node], declared: Mapping[str, tuple[str, ...]]) -> dict[str, dict[str, str]]:
    """Table -> column -> the declared column that it is, or is made from."""
    found = {table: {column: f"{table}.{column}" for column in columns} for table, columns in declared.items()}
    for node in nodes:
        pending, seen = list(node.parents), set()
        while pending:
            parent = pending.pop()
            if parent.column in declared.get(parent.table, ()):
                found.setdefault(node.table, {})[node.column] = f"{parent.table}.{parent.column}"
                break
            if (parent.table, parent.column) not in seen:
                seen.add((parent.table, parent.column))
                pending += parent.parents
    return found
