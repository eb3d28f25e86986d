"""The lineage graph: the whole way of every column as data, from the fields of raw events, through the models, to what
leaves the platform.

    made = graph(settings, uses=[*activations.uses(), *dashboards.uses()])
    made.tables["marts.dim_users"].columns["email"].personal  # "raw.user_profiles.email"

`uses` are what is made from models outside SQLMesh: syncs with their destinations, and dashboards. They are handed in,
because this package knows neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from searchflow.settings import ROOT, Settings
from searchflow.transformation.lineage import WHOLE, Node, trees
from searchflow.transformation.marks import marked

if TYPE_CHECKING:
    from sqlmesh import Context
    from sqlmesh.core.model import Model

ColumnPlace = tuple[str, str]
"""A table and its column; `*` is the table as a whole."""


class Use(Struct, frozen=True):
    """A use of models: a sync, a destination, or a page of the dashboards."""

    name: str
    kind: str
    """The kind of use: sync, destination or dashboard."""
    description: str
    fields: dict[str, list[ColumnPlace]]
    """Field of the use -> the columns it is filled from; `*` is the whole use."""
    personal: frozenset[str] = frozenset()
    """Fields that are declared personal where the use is declared."""


class GraphColumn(Struct):
    """A column, or a field of a document or destination."""

    type: str = ""
    description: str = ""
    personal: str = ""
    """The declared column that the personal content comes from ("raw.user_profiles.email"); empty when it is not personal."""


class GraphTable(Struct):
    """A table, model, sync, destination or dashboard page."""

    layer: str
    kind: str
    description: str = ""
    columns: dict[str, GraphColumn] = field(default_factory=dict)


class Graph(Struct):
    """All tables and columns, and what is made from what."""

    tables: dict[str, GraphTable] = field(default_factory=dict)
    edges: list[tuple[ColumnPlace, ColumnPlace]] = field(default_factory=list)
    """Edges from a column to a column that is made from it."""


def graph(settings: Settings, *, uses: Iterable[Use] = (), root: Path = ROOT) -> Graph:
    """Return the graph of production as it was promoted, or of another project in `root`.

    It takes about a second once the project is loaded. It reads no data.
    """
    from searchflow.transformation.production import described

    with described(settings, root) as opened:
        return graph_of(opened.context, uses)


def graph_of(context: Context, uses: Iterable[Use] = ()) -> Graph:
    """Return the graph of a project that is open."""
    made = Graph({model.name: _table(model) for model in context.models.values()})
    nodes = trees(context)
    python = [
        model for model in context.models.values() if not model.is_sql and model.depends_on and not model.kind.is_seed
    ]
    edges = {((parent.table, parent.column), (node.table, node.column)) for node in nodes for parent in node.parents}
    for model in python:
        tables = [parent.name for each in model.depends_on if (parent := context.get_model(each))]
        edges |= {((table, WHOLE), (model.name, WHOLE)) for table in tables}
    marks = marked(nodes)
    for use in uses:
        made.tables[use.name] = GraphTable(use.kind, use.kind, use.description)
        edges |= {(source, (use.name, name)) for name, sources in use.fields.items() for source in sources}
        marks[use.name] = _marks_of(use, marks)
    made.edges = sorted(edges)
    for place in (place for edge in made.edges for place in edge):
        made.tables.setdefault(place[0], GraphTable(place[0].partition(".")[0], "table")).columns.setdefault(
            place[1], GraphColumn()
        )
    for table, columns in marks.items():
        for column, source in columns.items():
            if table in made.tables:
                made.tables[table].columns.setdefault(column, GraphColumn()).personal = source
    return made


def tree(made: Graph, place: ColumnPlace, *, down: bool = False) -> Node:
    """Return what a column is made from, or what is made from it, as a tree. A column that stands in it twice is one
    node.
    """
    beside: dict[ColumnPlace, list[ColumnPlace]] = {}
    of_table: dict[str, list[ColumnPlace]] = {}
    for source, target in made.edges:
        beside.setdefault(source if down else target, []).append(target if down else source)
        of_table.setdefault(source[0], []).append(target)
    seen: dict[ColumnPlace, Node] = {}

    def grown(at: ColumnPlace) -> Node:
        if at not in seen:
            column = made.tables[at[0]].columns[at[1]]
            seen[at] = Node(at[0], at[1], column.description or None, column.personal or None)
            found = list(beside.get(at, []))
            if at[1] != WHOLE:  # what makes or reads a table as a whole makes or reads each column
                found += beside.get((at[0], WHOLE), [])
            elif down:  # and what was made from a table as a whole may be in each column
                found += of_table.get(at[0], [])
            seen[at].parents = [grown(each) for each in dict.fromkeys(found)]
        return seen[at]

    return grown(place)


def _table(model: Model) -> GraphTable:
    types = model.columns_to_types or {}
    described = model.column_descriptions
    return GraphTable(
        model.name.partition(".")[0],
        "table" if model.kind.is_external else model.kind.name.value.lower().replace("_", " "),
        model.description or "",
        {name: GraphColumn(kind.sql(dialect="duckdb"), described.get(name) or "") for name, kind in types.items()},
    )


def _marks_of(use: Use, marks: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the marks of a use's fields. A field is personal when a column it is filled from is, or when it is
    declared so.
    """
    found = {name: f"{use.name}.{name}" for name in use.personal}
    for name, sources in use.fields.items():
        for table, column in sources:
            if column in marks.get(table, {}):
                found[name] = marks[table][column]
    return found
