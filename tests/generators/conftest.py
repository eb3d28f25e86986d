"""Small worlds for the tests of the simulator. Made once: a simulation has no state to spoil."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from generators import Batch, Simulation, SimulationSettings
from generators.funnel import Rows
from generators.population import BOT
from generators.settings import DAY_MS, milliseconds

NOW = datetime(2026, 6, 15, 14, 30, 12, 345000, tzinfo=UTC)


@pytest.fixture(scope="session")
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def small() -> Simulation:
    """Twelve days with about 2,000 events."""
    return Simulation(SimulationSettings.for_history(until=NOW, days=12, events=2_000, seed=7))


@pytest.fixture(scope="session")
def year() -> Simulation:
    """The demo's history."""
    return Simulation(SimulationSettings.for_history(until=NOW, seed=42))


@pytest.fixture(scope="session")
def year_batches(year: Simulation) -> list[Batch]:
    return list(year.batches(until=NOW))


@pytest.fixture(scope="session")
def year_frames(year_batches: list[Batch]) -> dict[str, pl.DataFrame]:
    """Valid events of the demo's history by type, with their JSON decoded."""
    shapes = {
        "search": {"query": pl.String, "results_count": pl.Int64, "page": pl.Int64, "utm_source": pl.String,
                   "utm_medium": pl.String, "utm_campaign": pl.String, "platform": pl.String, "device_type": pl.String},
        "click": {"search_event_id": pl.String, "result_position": pl.Int64, "result_price": pl.Float64},
        "conversion": {"click_event_id": pl.String, "booking_value": pl.Float64, "currency": pl.String},
    }  # fmt: skip
    frames = {}
    for event_type, fields in shapes.items():
        whole = pl.concat([batch.frames[event_type] for batch in year_batches]).filter(pl.col("fate") == 0)
        shape = pl.Struct({"user_id": pl.String, **fields})
        frames[event_type] = whole.with_columns(
            pl.col("line").cast(pl.String).str.json_decode(shape).alias("document")
        ).unnest("document")
    return frames


@pytest.fixture(scope="session")
def visits(year: Simulation) -> pl.DataFrame:
    """Visits of people in the demo's history, as numbers."""
    return pl.concat(list(year.visits(year.settings.start_day, milliseconds(NOW) // DAY_MS))).filter(
        pl.col("traveller") < BOT
    )


@pytest.fixture(scope="session")
def rows(year: Simulation, visits: pl.DataFrame) -> Rows:
    """Their events, as numbers."""
    return year.funnel.rows(visits)
