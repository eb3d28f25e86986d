"""The part of `deploy/prefect.yaml` that is made from the files in `activations/syncs/`: one deployment a sync.

`make docs` writes it, between two comments; `flows/deployments.py` makes the same ones from the same files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import yaml

from searchflow.devtools.markdown import Piece

PLACE = Path("deploy") / "prefect.yaml"
BEGIN, END = "  # made:syncs (by `make docs`, from activations/syncs/)", "  # made:end"


def block(root: Path) -> list[str]:
    """The lines between the comments."""
    lines: list[str] = []
    for path in sorted((root / "activations" / "syncs").glob("*.yaml")):
        sync = yaml.safe_load(path.read_text(encoding="utf-8"))
        lines += [
            f"  - name: sync-{sync['name']}",
            f"    description: {json.dumps(sync['description'], ensure_ascii=False)}",
            "    entrypoint: flows.activation:activate",
            "    work_pool: *work_pool",
            "    parameters:",
            f"      syncs: [{sync['name']}]",
            *_schedules(sync.get("schedule")),
        ]
    return lines


def _schedules(cron: str | None) -> list[str]:
    if cron is None:
        return ["    schedules: []"]
    return ["    schedules:", f"      - cron: {json.dumps(cron)}", "        timezone: UTC"]


def stale(root: Path) -> Iterator[tuple[Path, Piece]]:
    """A problem when the file does not hold what the syncs say."""
    path = root / PLACE
    if path.exists() and BEGIN in (text := path.read_text(encoding="utf-8")) and text != _written(root, text):
        line = text.splitlines().index(BEGIN) + 1
        yield path, Piece(line, "the deployments of syncs differ from activations/syncs/ (run `make docs`)")


def write(root: Path) -> list[Path]:
    """Write the part anew; returns the file when it changed."""
    path = root / PLACE
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if BEGIN not in text or (written := _written(root, text)) == text:
        return []
    path.write_text(written, encoding="utf-8")
    return [path]


def _written(root: Path, text: str) -> str:
    lines = text.splitlines()
    begin = lines.index(BEGIN)
    end = lines.index(END, begin)
    return "\n".join([*lines[: begin + 1], *block(root), *lines[end:]]) + "\n"
