"""A test may play another day; a home that no test made may not."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from searchflow import lifecycle, streams
from searchflow.errors import ConfigurationError
from searchflow.ingestion import meter
from searchflow.settings import CLOCK_MARKER, Settings, load_settings
from tests.commands import CommandLine

MONTH = timedelta(days=30)


def test_a_home_that_no_test_made_refuses_a_moved_clock(home: Path) -> None:
    refused = CommandLine(home, {"SEARCHFLOW_CLOCK_OFFSET_S": "-60"}).run("status")
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.splitlines() == [
        f"searchflow: SEARCHFLOW_CLOCK_OFFSET_S: it moves the clock, and {home} is not a test's home. Unset it."
    ]


def test_the_marker_alone_moves_nothing(home: Path) -> None:
    (home / CLOCK_MARKER).touch()
    assert load_settings(home=home).clock_offset_s == 0
    with pytest.raises(ConfigurationError, match="not a test's home"):
        load_settings(home=home / "other", clock_offset_s=1)


@pytest.mark.integration
def test_a_moved_clock_moves_what_we_stamp_and_not_what_servers_do(home: Path) -> None:
    (home / CLOCK_MARKER).touch()
    cli = CommandLine(home, {"SEARCHFLOW_CLOCK_OFFSET_S": str(-MONTH.total_seconds())})
    lifecycle.start(cli.settings)
    before = datetime.now(UTC).replace(tzinfo=None) - MONTH
    cli.json("generate", "--days", "2", "--events", "200", "--seed", "3")
    cli.json("ingest")
    [raw] = cli.json("query", "SELECT max(event_ts) AS newest, max(ingested_at) AS stored FROM raw.search_events")
    [run] = cli.json("query", "SELECT max(started_at) AS at FROM ops.stage_runs")
    for moment in (raw["newest"], raw["stored"], run["at"]):
        assert abs(datetime.fromisoformat(moment) - before) < timedelta(hours=6), moment
    moved = load_settings(home=home, clock_offset_s=-MONTH.total_seconds())
    assert 1 <= _lag(moved) < 60


def _lag(settings: Settings) -> float:
    """Seconds that an entry waits which came a second ago."""
    with streams.connect(settings) as client:
        streams.publish(client, "search", [b"one"])
        time.sleep(1)
    return meter.backlogs(settings, datetime.now(UTC) - MONTH)[streams.EVENT_STREAMS["search"]].lag_seconds
