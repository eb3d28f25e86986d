"""The lineage page: the lineage graph as one page, searchable, without any request to another site.

This module puts the files in `page_files` together. Names and sentences of the graph are data: the script shows them as
text only, and nothing in them can end the element that carries them.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from searchflow.transformation.graph import Graph

FILES = Path(__file__).resolve().parent / "page_files"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def write(graph: Graph, path: Path) -> Path:
    """Write the page to `path`. A process that reads it meanwhile sees the old page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(render(graph), encoding="utf-8")
    return partial.replace(path)


def render(graph: Graph) -> str:
    """Return the graph as an HTML page."""
    page = (FILES / "lineage.html").read_text(encoding="utf-8")
    parts = {
        "policy": POLICY,
        "style": (FILES / "lineage.css").read_text(encoding="utf-8"),
        "script": (FILES / "lineage.js").read_text(encoding="utf-8"),
        "graph": _harmless(msgspec.json.encode(graph).decode()),
    }
    before, *sections = page.split("{{")
    filled = [parts[name] + rest for name, _, rest in (section.partition("}}") for section in sections)]
    return before + "".join(filled)


def _harmless(document: str) -> str:
    """Return JSON that an HTML parser reads as mere text."""
    return document.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
