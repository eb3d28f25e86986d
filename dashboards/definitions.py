"""Definitions of each table and column, read from the models' own files: the only place where it is written.

The lake holds no descriptions (one catalog commit per column was too costly), and loading the SQLMesh project takes
seconds. `sqlmesh format` puts each output column on a line of its own, so reading the files is enough; a test compares
what is found here with what SQLMesh finds.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from searchflow.settings import ROOT

PLATFORM = "platform"
"""The owner of the platform's own tables."""
LAYERS = ("seeds", "staging", "intermediate", "marts", "activation", "ops")
_HEAD = re.compile(r"\s*/\*(.*?)\*/", re.DOTALL)
_COLUMN = re.compile(r"\bAS (\w+),? /\* (.*?) \*/$", re.MULTILINE)
_SOURCE = re.compile(r"\b(?:FROM|JOIN) ((?:raw|seeds|staging|intermediate|marts|activation|ops)\.\w+)")
_NAMED = re.compile(r"[\"']((?:raw|seeds|staging|intermediate|marts|activation|ops)\.\w+)[\"']")
_RESULT = re.compile(r"^SELECT$", re.MULTILINE)
"""The last step of a model: those of its CTEs are indented."""
_KIND_NAME = re.compile(r"\bModelKindName\.(\w+)")
_PROPERTY = re.compile(r"^  (owner|kind) (\w+)", re.MULTILINE)
_DEFAULT_OWNER = re.compile(r"^model_defaults:.*?^  owner: (\w+)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Model:
    """One model as its file describes it."""

    name: str
    sentence: str
    kind: str = ""
    owner: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    sources: frozenset[str] = frozenset()


@cache
def models(root: Path = ROOT) -> dict[str, Model]:
    """Return every model by its name. The files are read once: they do not change while pages are served."""
    found = _DEFAULT_OWNER.search((root / "config.yaml").read_text(encoding="utf-8"))
    owner = found[1] if found else ""
    paths = [path for layer in LAYERS for path in sorted((root / "models" / layer).glob("*.*"))]
    read = [_read(path, owner) for path in paths if path.suffix in (".sql", ".py") and not path.stem.startswith("_")]
    received = yaml.safe_load((root / "external_models.yaml").read_text(encoding="utf-8"))
    tables = [Model(table["name"], _one_line(table.get("description", "")), "received", PLATFORM) for table in received]
    return {model.name: model for model in [*tables, *read]}


def of(column: str) -> str | None:
    """Return what a column means ("marts.mart_kpi_daily.revenue"), as its model says; None when it does not."""
    table, _, name = column.rpartition(".")
    model = models().get(table)
    return model.columns.get(name) if model else None


@cache
def upstream(table: str) -> frozenset[str]:
    """Return every table that this one is made from, directly or not."""
    found: set[str] = set()
    pending = [table]
    while pending:
        model = models().get(pending.pop())
        fresh = (model.sources if model else frozenset()) - found
        found |= fresh
        pending += fresh
    return frozenset(found - {table})


def _read(path: Path, owner: str) -> Model:
    text = path.read_text(encoding="utf-8")
    name = f"{path.parent.name}.{path.stem}"
    if path.suffix == ".py":
        return _of_python(name, text, owner)
    head = _HEAD.match(text)
    given = dict(_PROPERTY.findall(text))
    return Model(
        name,
        _one_line(head[1]) if head else "",
        given.get("kind", "").lower().replace("_", " "),
        given.get("owner", owner),
        dict(_COLUMN.findall(text, result.start())) if (result := _RESULT.search(text)) else {},
        frozenset(_SOURCE.findall(text)) - {name},
    )


def _of_python(name: str, text: str, owner: str) -> Model:
    tree = ast.parse(text)
    given: dict[str, object] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "model":
            for keyword in node.keywords:
                try:
                    given[keyword.arg or ""] = ast.literal_eval(keyword.value)
                except ValueError:
                    continue
    described = given.get("column_descriptions")
    named = _KIND_NAME.search(text)  # a kind with settings is no literal
    kind = named[1] if named else given.get("kind")
    return Model(
        name,
        _one_line(ast.get_docstring(tree) or ""),
        str(kind or "").lower().replace("_", " "),
        str(given.get("owner", owner)),
        described if isinstance(described, dict) else {},
        frozenset(_NAMED.findall(text)) - {name},
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
