"""A backfill of ten million events through all models: rate and peak memory, beside the models' bare SQL in DuckDB.

The limit is the same SQL on the same rows in a plain DuckDB file: no lake, no catalog server, no scheduler, no audits.
Both take their days at once; loading libraries is not measured.
"""

from __future__ import annotations

import time
from datetime import UTC, date, timedelta
from pathlib import Path
from typing import Any

from benchmarks import history
from benchmarks.report import Figure, Options, Report
from benchmarks.support import in_child, machine, platform
from searchflow import warehouse
from searchflow.settings import Settings

EVENTS, DAYS = 10_000_000, 100
FIRST = date(2025, 1, 1)
LAST = FIRST + timedelta(days=DAYS - 1)
CHUNK = 20
RATIO, BYTES = 1.5, 8 * 2**30


def run(options: Options) -> Report:
    """Measure the models and their bare SQL, one after the other."""
    daily = options.scaled(EVENTS / DAYS, least=30)
    with platform(options) as settings:
        options.progress("writing the events")
        events = in_child(_fill_lake, settings, daily).result
        options.progress("all models, with audits, in the lake")
        models = in_child(_transform, settings)
    options.progress("the same SQL, bare")
    bare = in_child(_bare, options.workspace, daily)
    seconds, limit, rows = models.result["seconds"], bare.result["seconds"], bare.result["rows"]
    if rows != models.result["rows"]:
        raise AssertionError(f"The bare models hold {rows}, the lake {models.result['rows']}.")
    judged = options.judges
    figures = [
        Figure("backfill", round(events / seconds), "events/s", round(events / limit), "bare SQL in DuckDB"),
        Figure(
            "seconds",
            round(seconds, 1),
            "s",
            round(limit, 1),
            "bare SQL in DuckDB",
            f"at most {RATIO} times",
            seconds <= RATIO * limit if judged else None,
        ),
        Figure(
            "peak memory",
            round(models.peak_bytes / 2**20),
            "MiB",
            round(bare.peak_bytes / 2**20),
            "bare SQL in DuckDB",
            "below 8 GiB",
            models.peak_bytes < BYTES if judged else None,
        ),
    ]
    slowest = {"slowest": models.result["slowest"], "slowest_bare": bare.result["slowest"]}
    return Report("transform", (__doc__ or "").partition("\n")[0], figures, machine() | {"events": events, **slowest})


def _fill_lake(settings: Settings, daily: int) -> int:
    events = 0
    for start in range(0, DAYS, CHUNK):
        with warehouse.connect(settings) as connection, warehouse.transaction(connection):
            events += history.add_days(connection, FIRST + timedelta(days=start), CHUNK, daily)
    return events


def _transform(settings: Settings) -> dict[str, Any]:
    from searchflow.transformation import transform
    from searchflow.transformation.project import project

    with project(settings):  # loaded before the clock starts, as the bare models are
        pass
    began = time.perf_counter()
    result = transform(settings, now=history.ends(LAST).replace(tzinfo=UTC))
    seconds = time.perf_counter() - began
    with warehouse.connect(settings, read_only=True) as connection:
        rows = _rows(connection)
    return {"seconds": seconds, "rows": rows, "slowest": _slowest({run.name: run.duration_s for run in result.models})}


def _bare(folder: Path, daily: int) -> dict[str, Any]:
    from searchflow.transformation import bare

    models, now = bare.BareModels(), history.ends(LAST)
    with bare.warehouse(folder / "bare.duckdb") as connection:
        for start in range(0, DAYS, CHUNK):
            history.add_days(connection, FIRST + timedelta(days=start), CHUNK, daily)
        seconds = {}
        for model in models.models:
            began = time.perf_counter()
            models.make(connection, FIRST, LAST, now, only={model.name})
            seconds[model.name] = time.perf_counter() - began
        return {"seconds": sum(seconds.values()), "rows": _rows(connection), "slowest": _slowest(seconds)}


def _rows(connection: Any) -> dict[str, int]:
    tables = ("marts.fct_search_funnel", "marts.dim_users", "marts.mart_campaign_attribution", "marts.mart_kpi_daily")
    return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}


def _slowest(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(seconds[name], 1) for name in sorted(seconds, key=lambda each: -seconds[each])[:8]}
