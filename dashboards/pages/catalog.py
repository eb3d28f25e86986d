"""Catalog: which tables and columns there are, what they mean, who owns them, and whether their checks passed."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboards import ancestry, definitions, formats
from dashboards.frame import OUTCOMES, PlatformPage, column, moments, nothing, numbers, open_platform_page, tile
from dashboards.queries import catalog
from dashboards.source import current_settings
from searchflow.transformation.graph import Graph

FIRST = "marts.mart_kpi_daily"
REFRESH_SECONDS = 2
LAYERS = {
    "marts": "Marts",
    "activation": "Activation",
    "intermediate": "Intermediate",
    "staging": "Staging",
    "raw": "Raw",
    "ops": "Operations",
    "seeds": "Seeds",
}


def render(page: PlatformPage) -> None:
    """Draw all tables, then one of them in full."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in catalog.columns(page.reading):
        tables.setdefault(row["table_name"], []).append(row)
    if not tables:
        nothing("There is no table yet: `searchflow ingest` makes the first, `searchflow transform` the others.")
        return
    words = st.text_input(
        "Find a table, a column or a word of their descriptions",
        key="find",
        bind="query-params",
        placeholder="for example revenue",
    )
    found = {name: columns for name, columns in tables.items() if matches(words, name, columns)}
    if not found:
        nothing("Nothing has that in its name or description.")
        return
    graph = ancestry.known(current_settings())
    _all(page, found, graph)
    _one(page, found, graph)


def matches(words: str, table: str, columns: list[dict[str, Any]]) -> bool:
    """Return whether all words stand somewhere in the names and descriptions of a table and its columns."""
    model = definitions.models().get(table)
    said = [table, *(row["column_name"] for row in columns)]
    if model:
        said += [model.sentence, model.owner, *model.columns.values()]
    text = " ".join(said).lower()
    return all(word in text for word in words.lower().split())


def _personal(graph: Graph | None, table: str) -> dict[str, str]:
    """Return column -> where its personal content comes from."""
    known = graph.tables.get(table) if graph else None
    return {name: each.personal for name, each in known.columns.items() if each.personal} if known else {}


def _all(page: PlatformPage, tables: dict[str, list[dict[str, Any]]], graph: Graph | None) -> None:
    runs = catalog.runs(page.reading)
    outcomes = {suite.suite: suite for suite in page.trust.outcomes}
    rows = []
    for name, columns in tables.items():
        model, outcome, run = definitions.models().get(name), outcomes.get(name), runs.get(name, {})
        rows.append(
            {
                "name": name,
                "what": model.sentence if model else "",
                "owner": model.owner if model else definitions.PLATFORM,
                "kind": model.kind.removesuffix(" by time range") if model else "received",
                "columns": len(columns),
                "personal": len(_personal(graph, name)) if graph else None,
                "rows": run.get("rows"),
                "made": run.get("made"),
                "quality": OUTCOMES.get(outcome.outcome, outcome.outcome) if outcome else None,
            }
        )
    with tile(page, formats.plural(len(tables), "table"), "ops.model_runs", key="tables") as drawn:
        drawn.table(
            rows,
            {
                "name": column("Table", width=225),
                "quality": column("Checks", width=80, help="The newest run of its quality suite."),
                "owner": column("Owner", width=75),
                "personal": numbers("Personal", help="Columns with personal data, or made from such columns."),
                "rows": numbers("Rows written", help="By its newest run; a view writes none."),
                "made": moments("Made (UTC)"),
                "columns": numbers("Columns"),
                "kind": column("Kept as", width=100),
                "what": column("What it holds", width=420),
            },
            alt="Tables of the warehouse",
            height=330 if len(rows) > 8 else "auto",
        )


def _one(page: PlatformPage, tables: dict[str, list[dict[str, Any]]], graph: Graph | None) -> None:
    names = list(tables)
    name = st.selectbox(
        "Table",
        names,
        index=names.index(FIRST) if FIRST in names else 0,
        key="table",
        bind="query-params",
        width=360,
    )
    model = definitions.models().get(name)
    with tile(
        page, name, name, key="table-columns", about=formats.plain(model.sentence, limit=600) if model else None
    ) as drawn:
        if model:
            _facts(model)
        described = model.columns if model else {}
        personal = _personal(graph, name)
        drawn.table(
            [
                {
                    "column": row["column_name"],
                    "type": row["type"],
                    "personal": f"● {source}" if (source := personal.get(row["column_name"])) else None,
                    "meaning": described.get(row["column_name"]),
                }
                for row in tables[name]
            ],
            {
                "column": column("Column", width=190),
                "type": column("Type", width=110),
                "personal": column("Personal data", width=170, help="Where the personal content comes from."),
                "meaning": column("What it means", width="large"),
            },
            alt=f"Columns of {name}",
            height=420 if len(tables[name]) > 11 else "auto",
        )
    _lineage(page, name, [row["column_name"] for row in tables[name]])
    _checks(page, name)


@st.fragment(run_every=REFRESH_SECONDS)
def _waiting() -> None:
    """Look again until the graph is there, then run the page again."""
    if ancestry.known(current_settings()) is not None:
        st.rerun()
    nothing("The lineage of all columns is being read from the models. It shows here in some seconds.")


def _lineage(page: PlatformPage, table: str, columns: list[str]) -> None:
    """Draw one column, up to the fields of raw events and down to destinations and pages."""
    with tile(page, "Where a column comes from, and where it goes", table, key="lineage") as drawn:
        graph = ancestry.known(current_settings())
        if graph is None:
            if ancestry.failed(current_settings()):
                nothing("The lineage could not be read: `searchflow lineage` says why.")
            else:
                _waiting()
            return
        chosen = st.selectbox("Column", columns, key="column", bind="query-params", width=360)
        if ancestry.page(current_settings()).exists():
            st.markdown("[All tables, columns, syncs and pages as one graph](reports/lineage.html)")
        found = {
            direction: ancestry.lines(graph, table, chosen, down=down)
            for direction, down in (("Made from", False), ("Used in", True))
        }
        for place, (direction, nodes) in zip(st.columns(2, gap="medium"), found.items(), strict=True):
            with place:
                st.markdown(f"**{direction}**")
                if nodes:
                    st.markdown(
                        "\n".join(_line(depth, node.table, node.column, node.personal) for depth, node in nodes)
                    )
                else:
                    st.caption("nothing that is known")
        drawn.shows(
            [
                {"direction": direction, "steps": depth + 1, "table": node.table, "column": node.column}
                for direction, nodes in found.items()
                for depth, node in nodes
            ],
            {"direction": "Direction", "steps": "Steps", "table": "Table", "column": "Column"},
        )


def _line(depth: int, table: str, name: str, personal: str | None) -> str:
    where = formats.plain(table if name == "*" else f"{table}.{name}")
    return f"{'  ' * depth}- {where}{' :orange[● personal]' if personal else ''}"


def _facts(model: definitions.Model) -> None:
    readers = sorted(name for name, other in definitions.models().items() if model.name in other.sources)
    facts = [f"Owner **{formats.plain(model.owner)}**", f"kept as **{formats.plain(model.kind)}**"]
    if model.sources:
        facts.append(f"made from {formats.plain(', '.join(sorted(model.sources)), limit=600)}")
    if readers:
        facts.append(f"read by {formats.plain(', '.join(readers), limit=600)}")
    st.markdown(" · ".join(facts))


def _checks(page: PlatformPage, name: str) -> None:
    with tile(page, "Its checks, newest run", name, key="table-checks") as drawn:
        rows = catalog.checks(page.reading, name)
        if not rows:
            nothing("This table has no quality suite, or it has not run yet: `searchflow validate` runs all of them.")
            return
        drawn.table(
            [row | {"outcome": OUTCOMES.get(row["outcome"], row["outcome"])} for row in rows],
            {
                "outcome": column("Outcome"),
                "sentence": column("What should hold", width="large"),
                "column_name": column("Column"),
                "severity": column("Severity"),
                "observed": column("Seen", width="medium"),
                "checked_at": moments("Checked (UTC)"),
            },
            alt=f"Checks of {name}",
            height=360 if len(rows) > 9 else "auto",
        )


render(open_platform_page("Catalog", about="What the data mean, who owns them, and whether their checks passed"))
