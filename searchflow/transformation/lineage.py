"""From which columns is a column made? SQLMesh's column lineage, as a tree up to the raw fields.

A raw table keeps each event as one document, so lineage goes one step further than columns: to the field of the document
that a model reads, written as `payload $.utm_source`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sqlglot import exp

from searchflow.settings import ROOT, Settings

if TYPE_CHECKING:
    from sqlglot.lineage import Node as LineageNode
    from sqlmesh import Context
    from sqlmesh.core.model import Model

WHOLE = "*"
"""A table as a whole: what a model in Python reads."""


@dataclass
class Node:
    """A column and the columns it is made from."""

    table: str
    column: str
    description: str | None = None
    personal: str | None = None
    """The declared column that its personal content comes from."""
    parents: list[Node] = field(default_factory=list)


def model_names(settings: Settings, *, root: Path = ROOT) -> list[str]:
    """All models, seeds included, raw tables not: ["activation.act_crm_user_segments", ...]."""
    from searchflow.transformation.production import described

    with described(settings, root) as opened:
        return sorted(model.name for model in opened.context.models.values() if not model.kind.is_external)


def lineage_of_all(settings: Settings, *, root: Path = ROOT) -> list[Node]:
    """The tree of every column of every SQL model."""
    from searchflow.transformation.production import described

    with described(settings, root) as opened:
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


def dependencies(context: Context, model: Model, column: str) -> list[tuple[str, str]]:
    """The (table, column) pairs that a column of a SQL model is made from; what only filters or joins is not among them.

    Of a model in Python only its tables are known: their column is "*".
    """
    if not model.is_sql:
        return sorted((_name(context, table), WHOLE) for table in model.depends_on)
    from sqlmesh.core.lineage import lineage as walk_columns

    root = walk_columns(column, model, trim_selects=False)
    found = {_leaf(context, node, path) for node, path in _leaves(root, None) if node.expression.find(exp.Table)}
    return sorted(found - {(model.name, column)})


def _leaves(node: LineageNode, path: str | None) -> Iterator[tuple[LineageNode, str | None]]:
    """Columns of other models below this one, with the field that is taken from each on the way."""
    if not node.downstream:
        yield node, path
        return
    extracts = {} if isinstance(node.expression, exp.Table) else _extracts(node.expression)
    for below in node.downstream:
        for field_ in extracts.get(exp.to_column(below.name).name, [path]):
            yield from _leaves(below, field_)


def _extracts(expression: exp.Expression) -> dict[str, list[str | None]]:
    """Column -> the JSON paths that an expression reads of it: {"payload": ["$.geo.country"]}."""
    found: dict[str, list[str | None]] = {}
    for extract in expression.find_all(exp.JSONExtractScalar):
        document = extract.this.find(exp.Column)
        if document is not None:
            found.setdefault(document.name, []).append(extract.expression.sql(dialect="duckdb").strip("'"))
    return found


def _leaf(context: Context, node: LineageNode, path: str | None) -> tuple[str, str]:
    from sqlmesh.core.dialect import normalize_model_name

    table = node.expression.find(exp.Table)
    name = normalize_model_name(table, default_catalog=context.default_catalog, dialect="duckdb")
    column = exp.to_column(node.name).name
    return _name(context, name), f"{column} {path}" if path else column


def _name(context: Context, fqn: str) -> str:
    model = context.get_model(fqn)
    return model.name if model else fqn.replace('"', "")


def _node(context: Context, table: str, column: str, seen: dict[tuple[str, str], Node]) -> Node:
    if (table, column) in seen:
        return seen[table, column]
    model = context.get_model(table)
    described = model.column_descriptions.get(column) if model else None
    node = seen[table, column] = Node(table, column, described)
    if model is not None and not model.kind.is_external and not model.kind.is_seed and column != WHOLE:
        node.parents = [_node(context, *parent, seen) for parent in dependencies(context, model, column)]
    return node
