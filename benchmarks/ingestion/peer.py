"""The peer of the ingestion benchmark: dlt, the loader that people would pick.

It loads event files into DuckDB tables, each event id once.

dlt is no dependency of this project. It runs in a Python of its own that has it: this one, or a virtual environment that is
made in the workspace when a benchmark is asked for peers.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import duckdb

from benchmarks.ingestion.traffic import Traffic

REQUIREMENT = "dlt[duckdb]==1.31.0"
SCRIPT = Path(__file__).with_name("dlt_script.py")
HOW_TO_GET_IT = f"not measured: run with --peer to install {REQUIREMENT} in a temporary environment"


def python_with_dlt(workspace: Path, *, install: bool) -> str | None:
    """Return a Python that can import dlt, or None."""
    if importlib.util.find_spec("dlt") is not None:
        return sys.executable
    if not install:
        return None
    python = workspace / "peer" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(workspace / "peer")], check=True)
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, REQUIREMENT, f"duckdb=={duckdb.__version__}"], check=True)
    return str(python)


def events_per_second(python: str, workspace: Path, traffics: list[Traffic]) -> float:
    """Load the valid events of `traffics`, in JSON lines files, by dlt; its start is not counted."""
    files = workspace / "peer-events"
    files.mkdir()
    with duckdb.connect(":memory:") as connection:
        for traffic in traffics:
            target = files / f"{traffic.event_type}.jsonl"
            connection.execute(
                f"COPY (SELECT payload FROM ({traffic.select()})) TO '{target}' (FORMAT csv, HEADER false, QUOTE '', "
                "ESCAPE '', DELIMITER '\x01')"
            )
    done = subprocess.run(
        [python, str(SCRIPT), str(files), str(workspace / "peer-home")], check=True, capture_output=True, text=True
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    return float(answer["events"] / answer["seconds"])
