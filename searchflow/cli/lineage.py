"""The command `searchflow lineage`: where a column comes from, and what is made from it."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.text import Text
from rich.tree import Tree

from searchflow.cli.output import Json, console, print_json, safe
from searchflow.cli.support import settings_of_command, with_servers
from searchflow.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from searchflow.transformation import Graph, Node

Place = tuple[str, str]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: `searchflow lineage marts.mart_campaign_attribution.roas`")(lineage)


def lineage(
    target: Annotated[
        str | None, typer.Argument(help="SCHEMA.TABLE.COLUMN, or SCHEMA.TABLE for all its columns.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write the whole graph as one page to this file.")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page.")] = False,
    as_json: Json = False,
) -> None:
    """Show where a column comes from, up to the fields of raw events, and what is made from it, down to the fields of
    destinations. Columns that only filter or join are not followed. `--html` writes all of it as one searchable page;
    `--json` without a column prints the whole graph."""
    if target is None and html is None and not as_json:
        raise UsageError(
            "Name a column (`searchflow lineage marts.dim_users.email`), a page to write (`--html PATH`), or --json."
        )
    settings = with_servers(settings_of_command())
    from activations.lineage import uses as of_syncs
    from dashboards.lineage import uses as of_dashboards
    from searchflow.transformation import graph

    made = graph(settings, uses=[*of_syncs(), *of_dashboards()])
    if html is not None:
        _write(made, html, target, open_page)
    if target is not None:
        _show(made, _places(made, target), as_json)
    elif as_json:
        print_json(msgspec.to_builtins(made))


def _write(made: Graph, path: Path, target: str | None, open_page: bool) -> None:
    from searchflow.transformation.page import write

    write(made, path)
    typer.echo(f"{path}: {len(made.tables)} tables, syncs and pages. It needs no network.", err=True)
    if open_page:
        webbrowser.open(f"{path.resolve().as_uri()}{f'#{target}' if target else ''}")


def _places(made: Graph, target: str) -> list[Place]:
    if target in made.tables:
        return [(target, column) for column in made.tables[target].columns]
    for table, has in made.tables.items():
        if target.startswith(f"{table}."):
            column = target.removeprefix(f"{table}.")
            if column not in has.columns:
                raise NotFoundError(f"column of {table}", column, [name for name in has.columns if name != "*"])
            return [(table, column)]
    raise NotFoundError("table", target, made.tables)


def _show(made: Graph, places: list[Place], as_json: bool) -> None:
    from searchflow.transformation import tree

    pairs = [(tree(made, place), tree(made, place, down=True)) for place in places]
    if as_json:
        print_json([_document(up, "parents", set()) | _document(down, "children", set()) for up, down in pairs])
        return
    for up, down in pairs:
        drawn = Tree(_label(up))
        for title, node in (("made from", up), ("used in", down)):
            if node.parents:
                _grow(drawn.add(Text(title, style="bold")), node, set())
        console.print(drawn)


def _document(node: Node, direction: str, seen: set[Place]) -> dict[str, Any]:
    """Return a column and what is behind it as plain data. A column that came before is repeated without that."""
    known = (node.table, node.column) in seen
    seen.add((node.table, node.column))
    found: dict[str, Any] = {
        "table": node.table,
        "column": node.column,
        "description": node.description,
        "personal": node.personal,
    }
    behind = [] if known else [_document(each, direction, seen) for each in node.parents]
    return found | {direction: behind} | ({"shown_above": True} if known and node.parents else {})


def _label(node: Node, note: str = "") -> Text:
    mark = "  personal" if node.personal else ""
    described = f"  {node.description}" if node.description else ""
    name = f"{node.table} (as a whole)" if node.column == "*" else f"{node.table}.{node.column}"
    return Text.assemble(safe(name), (mark, "yellow"), (safe(described).plain, "dim"), (note, "dim italic"))


def _grow(drawn: Tree, node: Node, seen: set[Place]) -> None:
    for each in node.parents:
        place = (each.table, each.column)
        above = place in seen and bool(each.parents)
        branch = drawn.add(_label(each, "  (as above)" if above else ""))
        if not above:
            seen.add(place)
            _grow(branch, each, seen)
