"""Column lineage and personal marks for the Catalog: asked of `searchflow lineage` in a process of its own, and kept.

Finding them means loading the SQLMesh project: seconds of work and a quarter of a gigabyte that a server of pages need
not hold. The answer depends on files alone, so it is kept until one of them changes; a page shows what there is, and
looks again while it is being made.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import subprocess
import sys
import threading
from functools import lru_cache
from pathlib import Path

import msgspec

from searchflow.settings import ROOT, Settings
from searchflow.transformation.graph import Graph, tree
from searchflow.transformation.lineage import Node

READ = (
    "config.yaml",
    "external_models.yaml",
    "models/**/*",
    "macros/**/*",
    "activations/syncs/*",
    "dashboards/**/*.py",
)
"""The files that the graph is made from."""
PATIENCE = 180
MOST_LINES = 60

_making = threading.Lock()
_failed: set[Path] = set()


def known(settings: Settings) -> Graph | None:
    """Return the graph of the files as they are; None while it is being made, which this call starts."""
    kept = _kept(settings)
    if kept.exists():
        return _read(kept)
    if kept not in _failed and not _making.locked():
        threading.Thread(target=_make, args=(settings, kept), daemon=True).start()
    return None


def failed(settings: Settings) -> bool:
    """Return whether the graph could not be made; the log says why."""
    return _kept(settings) in _failed


def page(settings: Settings) -> Path:
    """Return the path of the lineage page in the folder of reports."""
    return settings.reports_dir / "lineage.html"


def _kept(settings: Settings) -> Path:
    files = sorted(path for pattern in READ for path in ROOT.glob(pattern) if path.is_file())
    state = hashlib.sha256()
    for path in files:
        status = path.stat()
        state.update(f"{path.relative_to(ROOT)}:{status.st_mtime_ns}:{status.st_size};".encode())
    return settings.home / "lineage" / f"{state.hexdigest()[:16]}.json"


@lru_cache(maxsize=2)
def _read(path: Path) -> Graph:
    return msgspec.json.decode(path.read_bytes(), type=Graph)


def _make(settings: Settings, kept: Path) -> None:
    if not _making.acquire(blocking=False):
        return
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}.partial")
        command = [sys.executable, "-m", "searchflow.cli", "lineage", "--json", "--html", str(page(settings))]
        environment = dict(os.environ) | {"SEARCHFLOW_HOME": str(settings.home)}
        with partial.open("wb") as output:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.PIPE, timeout=PATIENCE, check=False
            )
        if done.returncode == 0:
            partial.replace(kept)
            for old in kept.parent.glob("*.json"):
                if old != kept:
                    old.unlink(missing_ok=True)
        else:
            raise OSError(done.stderr.decode(errors="replace")[-500:])
    except (OSError, subprocess.TimeoutExpired):
        logging.getLogger(__name__).exception("column lineage could not be made")
        _failed.add(kept)
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    finally:
        _making.release()


def lines(graph: Graph, table: str, column: str, *, down: bool) -> list[tuple[int, Node]]:
    """Return what a column is made from (or what is made from it), as an indented list: depth and column, each once."""
    if table not in graph.tables or column not in graph.tables[table].columns:
        return []
    found: list[tuple[int, Node]] = []
    seen: set[tuple[str, str]] = set()
    pending = [(0, node) for node in reversed(tree(graph, (table, column), down=down).parents)]
    while pending and len(found) < MOST_LINES:
        depth, node = pending.pop()
        if (node.table, node.column) in seen:
            continue
        seen.add((node.table, node.column))
        found.append((depth, node))
        pending += [(depth + 1, parent) for parent in reversed(node.parents)]
    return found
