"""Lineage: from which columns a column is made. It is SQLMesh's column lineage, as a tree up to the raw fields.

A raw table keeps each event as one document, so lineage goes one step further than columns: to the field of the
document that a model reads, written as `payload $.utm_source`.
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
"""The mark of a table as a whole: what a model in Python reads."""


@dataclass
class Node:
    """A column and the columns that it is made from."""

    table: str
    column: str
    description: str | None = None
    personal: str | None = None
    """The declared column that its personal content comes from."""
    parents: list[Node] = field(default_factory=list)
    carried: list[Node] = field(default_factory=list)
    """The parents whose value the column may hold. The others only decide: in a condition, a partition or an order."""


def model_names(settings: Settings, *, root: Path = ROOT) -> list[str]:
    """Return all models, with seeds and without raw tables: ["activation.act_crm_user_segments", ...]."""
    from searchflow.transformation.production import described

    with described(settings, root) as opened:
        return sorted(model.name for model in opened.context.models.values() if not model.kind.is_external)


def lineage_of_all(settings: Settings, *, root: Path = ROOT) -> list[Node]:
    """Return the tree of every column of every SQL model."""
    from searchflow.transformation.production import described

    with described(settings, root) as opened:
        return trees(opened.context)


def trees(context: Context) -> list[Node]:
    """Return the tree of every column of every SQL model in a project that is open."""
    seen: dict[tuple[str, str], Node] = {}
    return [
        _node(context, model.name, column, seen)
        for model in context.models.values()
        if model.is_sql
        for column in model.columns_to_types or {}
    ]


def dependencies(context: Context, model: Model, column: str) -> dict[tuple[str, str], bool]:
    """Return the (table, column) pairs that a column of a SQL model is made from, each with whether its value may be
    carried over.

    A column that only filters or joins is not among them.

    For a model in Python only the tables it reads are known: their column is "*".
    """
    if not model.is_sql:
        return dict.fromkeys(sorted((_name(context, table), WHOLE) for table in model.depends_on), True)
    from sqlmesh.core.lineage import lineage as walk_columns

    root = walk_columns(column, model, trim_selects=False)
    found: dict[tuple[str, str], bool] = {}
    for node, path, carried in _leaves(root, None, True):
        if node.expression.find(exp.Table):
            leaf = _leaf(context, node, path)
            found[leaf] = found.get(leaf, False) or carried
    found.pop((model.name, column), None)
    return dict(sorted(found.items()))


def _leaves(node: LineageNode, path: str | None, carried: bool) -> Iterator[tuple[LineageNode, str | None, bool]]:
    """Return columns of other models below this one, with the field that is taken from each on the way, and whether its
    value is.
    """
    if not node.downstream:
        yield node, path, carried
        return
    plain = isinstance(node.expression, exp.Table)
    extracts = {} if plain else _extracts(node.expression)
    deciding = frozenset() if plain else deciding_columns(node.expression)
    for below in node.downstream:
        name = exp.to_column(below.name).name
        for field_ in extracts.get(name, [path]):
            yield from _leaves(below, field_, carried and name not in deciding)


def deciding_columns(expression: exp.Expression) -> frozenset[str]:
    """Return names of columns that stand in conditions, partitions and orders of an expression, and nowhere else in it."""
    columns = list(expression.find_all(exp.Column))
    return frozenset(
        {each.name for each in columns if _decides(each)} - {each.name for each in columns if not _decides(each)}
    )


def _decides(column: exp.Column) -> bool:
    """Return True inside the condition of a CASE, a FILTER, a partition, an order, or what `arg_max` looks at."""
    below: exp.Expression = column
    while (above := below.parent) is not None and not isinstance(above, exp.Query):
        if isinstance(above, DECIDING.get(below.arg_key or "", ())):
            return True
        below = above
    return False


DECIDING: dict[str, tuple[type[exp.Expression], ...]] = {
    "this": (exp.If, exp.Case, exp.Where, exp.Ordered),
    "partition_by": (exp.Window,),
    "expression": (exp.ArgMax, exp.ArgMin),
}
"""Place in a part of SQL -> the parts whose value does not come from there."""


def _extracts(expression: exp.Expression) -> dict[str, list[str | None]]:
    """Return column -> the JSON paths that an expression reads of it: {"payload": ["$.geo.country"]}."""
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
        for parent, carried in dependencies(context, model, column).items():
            made_from = _node(context, *parent, seen)
            node.parents.append(made_from)
            if carried:
                node.carried.append(made_from)
    return node
