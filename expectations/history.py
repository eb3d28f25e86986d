"""The results of earlier runs: as files for Data Docs (the newest 30 runs), and as rows for the trend (all of them)."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from searchflow.settings import Settings

RUNS_KEPT = 30
SUMMARY = "report.json"


def folder(settings: Settings) -> Path:
    """Return the folder that keeps the runs: one folder for each run, one file for each suite."""
    return settings.home / "quality" / "runs"


def keep(settings: Settings, run_id: str, name: str, document: Mapping[str, Any]) -> None:
    """Write one file of a run, whole or not at all."""
    path = folder(settings) / run_id / name
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{name}.{os.getpid()}")
    partial.write_text(json.dumps(document, default=str))
    partial.replace(path)


def newest(settings: Settings) -> dict[str, Path]:
    """Return suite -> the file of its newest result."""
    found: dict[str, Path] = {}
    for run in _runs(settings):
        for path in run.glob("[!.]*.json"):
            if path.name != SUMMARY:
                found.setdefault(path.stem, path)
    return found


def prune(settings: Settings, keep_runs: int = RUNS_KEPT) -> None:
    """Remove old runs, except those that hold the newest result of some suite."""
    needed = {path.parent for path in newest(settings).values()}
    for run in _runs(settings)[keep_runs:]:
        if run not in needed:
            shutil.rmtree(run, ignore_errors=True)


def _runs(settings: Settings) -> list[Path]:
    """Return the folders of runs, the newest first: their names begin with the moment of the check."""
    if not folder(settings).exists():
        return []
    return sorted((path for path in folder(settings).iterdir() if path.is_dir()), reverse=True)
