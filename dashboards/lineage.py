"""Lineage of the pages, which tables each of them reads: found in the SQL of the query modules that the page imports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from searchflow.transformation.graph import Use
from searchflow.transformation.lineage import WHOLE

HERE = Path(__file__).resolve().parent
TABLE = re.compile(r"\b(?:FROM|JOIN)\s+((?:raw|ops|staging|intermediate|marts|activation)\.[a-z_]+)")


def uses() -> list[Use]:
    """Return one use for each page."""
    return [_page(path) for path in sorted((HERE / "pages").glob("[a-z]*.py"))]


def _page(path: Path) -> Use:
    tree = ast.parse(path.read_text())
    modules = {
        f"{each.module}.{alias.name}".removeprefix("dashboards.queries.")
        for each in ast.walk(tree)
        if isinstance(each, ast.ImportFrom) and each.module
        for alias in each.names
        if f"{each.module}.{alias.name}".startswith("dashboards.queries.")
    }
    names = {name.partition(".")[0] for name in modules}
    sources = [path, *(HERE / "queries" / f"{name}.py" for name in sorted(names))]
    read = {table for source in sources if source.exists() for table in TABLE.findall(source.read_text())}
    description = (ast.get_docstring(tree) or "").partition("\n")[0]
    return Use(f"dashboard {path.stem}", "dashboard", description, {WHOLE: [(table, WHOLE) for table in sorted(read)]})
