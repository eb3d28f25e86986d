"""A script for a Python that has dlt: it loads event files of a folder into DuckDB, merged by event id. Prints events
and seconds."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read(files: Path) -> Iterator[list[dict[str, Any]]]:
    """Yield documents of all files, a thousand at a time."""
    for file in sorted(files.glob("*.jsonl")):
        page: list[dict[str, Any]] = []
        with file.open() as lines:
            for line in lines:
                page.append(json.loads(line))
                if len(page) == 1000:
                    yield page
                    page = []
        yield page


def load(files: Path, home: Path) -> tuple[int, float]:
    """Return events and seconds of one pipeline run: extract, normalize, load."""
    home.mkdir()
    os.chdir(home)
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    import dlt  # type: ignore[import-not-found,unused-ignore]

    events = dlt.resource(
        read(files),
        name="events",
        table_name=lambda event: f"{event['event_type']}_events",
        write_disposition="merge",
        primary_key="event_id",
        max_table_nesting=0,
    )
    pipeline = dlt.pipeline(
        "peer",
        pipelines_dir=str(home),
        destination=dlt.destinations.duckdb(str(home / "peer.duckdb")),
        dataset_name="raw",
    )
    began = time.perf_counter()
    pipeline.run(events)
    seconds = time.perf_counter() - began
    counts = pipeline.last_trace.last_normalize_info.row_counts
    return sum(count for table, count in counts.items() if table.endswith("_events")), seconds


if __name__ == "__main__":
    events, seconds = load(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(json.dumps({"events": events, "seconds": seconds}) + "\n")
