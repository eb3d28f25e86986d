"""From which columns is a column made? SQLMesh's column lineage, as a tree up to the raw fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from searchflow.errors import NotFoundError
from searchflow.settings import ROOT, Settings

if TYPE_CHECKING:
    from sqlmesh import Context


@dataclass
class Node:
    """A column and the columns it is made from."""

    table: str
    column: str
    description: str | None = None
    parents: list[Node] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "table": self.table,
            "column": self.column,
            "description": self.description,
            "parents": [parent.as_dict() for parent in self.parents],
        }


def model_names(settings: Settings, *, root: Path = ROOT) -> list[str]:
    """All models, seeds included, raw tables not: ["activation.act_crm_user_segments", ...]."""
    from searchflow.transformation.project import project

    with project(settings, root=root) as opened:
        return sorted(model.name for model in opened.context.models.values() if not model.kind.is_external)


def lineage(settings: Settings, name: str, *, root: Path = ROOT) -> list[Node]:
    """The tree of one column ("marts.dim_users.country"), or one for each column of a table ("marts.dim_users").

    Raises:
        NotFoundError: no such table or column; lists the known ones.
    """
    from searchflow.transformation.project import project

    with project(settings, root=root) as opened:
        known = {model.name: list(model.columns_to_types or {}) for model in opened.context.models.values()}
        table, column = name, ""
        if name not in known:
            table, _, column = name.rpartition(".")
        if table not in known:
            raise NotFoundError("table", name, known)
        if column and column not in known[table]:
            raise NotFoundError(f"column of {table}", column, known[table])
        seen: dict[tuple[str, str], Node] = {}
        return [_node(opened.context, table, each, seen) for each in ([column] if column else known[table])]


def lineage_of_all(settings: Settings, *, root: Path = ROOT) -> list[Node]:
    """The tree of every column of every SQL model."""
    from searchflow.transformation.project import project

    with project(settings, root=root) as opened:
        return trees(opened.context)


def trees(context: Context) -> list[Node]:
    """The same, of a project that is open."""
    seen: dict[tuple[str, str], Node] = {}
    return [
        _node(context, model.name, column, seen)
        for model in context.models.values()
        if model.is_sql
        for column in model.columns_to_types or {}
    ]


def _node(context: Context, table: str, column: str, seen: dict[tuple[str, str], Node]) -> Node:
    from sqlmesh.core.lineage import column_dependencies

    if (table, column) in seen:
        return seen[table, column]
    model = context.get_model(table, raise_if_missing=True)
    node = seen[table, column] = Node(table, column, model.column_descriptions.get(column))
    if not model.is_sql:
        return node  # a raw table, a seed, or a Python model: SQL says nothing beyond it
    for parent, columns in sorted(column_dependencies(context, model.fqn, column).items()):
        parent_model = context.get_model(parent)
        parent_name = parent_model.name if parent_model else parent.replace('"', "")
        for each in sorted(columns):
            if parent_model is None:
                node.parents.append(Node(parent_name, each))
            elif (parent_name, each) != (table, column):
                node.parents.append(_node(context, parent_name, each, seen))
    return node
