"""The files that a plan is made from, and a text that changes when one of them does. It is cheap enough to ask each
minute.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("models", "macros", "audits", "seeds", "materializations", "linter", "metrics", "signals", "external_models")
SINGLE = ("config.yaml", "config.yml", "config.py", "external_models.yaml")
SKIPPED = {"__pycache__", ".cache"}


def signature_of(root: Path) -> str:
    """Return the names, sizes and times of change of all files, as one short text."""
    digest = hashlib.sha256()
    for path, found in _found(root):
        digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def _found(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    paths = [root / name for name in SINGLE]
    for folder in FOLDERS:
        for place, inner, names in os.walk(root / folder):
            inner[:] = sorted(set(inner) - SKIPPED)
            paths += [Path(place) / name for name in sorted(names)]
    for path in paths:
        try:
            yield str(path.relative_to(root)), path.stat()
        except OSError:  # gone while we looked: its name is missing from the text
            continue
