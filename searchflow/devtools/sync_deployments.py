"""The part of `deploy/prefect.yaml` that is made from the files in `activations/syncs/`: one deployment for each sync.

`make docs` writes it between two comments; `flows/deployments.py` makes the same deployments from these files.
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from searchflow.devtools.made_part import MadePart


def block(root: Path) -> list[str]:
    """Make the lines between the comments."""
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


PART = MadePart(
    place=Path("deploy") / "prefect.yaml",
    begin="  # made:syncs (by `make docs`, from activations/syncs/)",
    end="  # made:end",
    lines=block,
    differs="the deployments of syncs differ from activations/syncs/",
)
