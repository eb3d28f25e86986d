"""Which columns are personal: marked once, where they are declared; the mark follows the models' column lineage."""

from __future__ import annotations

from collections.abc import Iterable

from searchflow.settings import Settings
from searchflow.transformation.lineage import Node, lineage_of_all

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


def personal_columns(settings: Settings) -> dict[str, dict[str, str]]:
    """Table -> personal column -> the declared column that it comes from ("raw.user_profiles.email")."""
    return marked(lineage_of_all(settings))


def marked(nodes: Iterable[Node]) -> dict[str, dict[str, str]]:
    """The same, of these columns and what each is made from."""
    found: dict[str, dict[str, str]] = {}
    for declared in (DECLARED, DOCUMENTS):
        for table, columns in declared.items():
            found.setdefault(table, {}).update({column: f"{table}.{column}" for column in columns})
    for node in nodes:
        pending, seen = list(node.parents), set()
        while pending:
            parent = pending.pop()
            if parent.column in DECLARED.get(parent.table, ()):
                found.setdefault(node.table, {})[node.column] = f"{parent.table}.{parent.column}"
                break
            if (parent.table, parent.column) not in seen:
                seen.add((parent.table, parent.column))
                pending += parent.parents
    return found
