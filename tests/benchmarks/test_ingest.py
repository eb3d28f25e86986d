"""The benchmark of ingestion works at a small size, and counts what it published; its speed is not judged here."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import msgspec
import pytest

from benchmarks import ingest
from benchmarks.ingestion.traffic import EVENT_BYTES, ID_LENGTH, SHARES, Traffic, id_offset
from benchmarks.report import Options
from searchflow.events import decode


@pytest.mark.parametrize("event_type", SHARES)
@pytest.mark.parametrize("version", [4, 7])
def test_its_events_have_500_bytes_and_keep_the_contract(event_type: str, version: int) -> None:
    traffic = Traffic(event_type, 1_000, date(2026, 3, 1), "x", version)
    with duckdb.connect(":memory:") as connection:
        lines = [row[0].encode() for row in connection.sql(f"SELECT payload FROM ({traffic.select()})").fetchall()]
    good, _, rejected = decode(lines)
    assert (len(good), rejected) == (1_000, {})
    assert {len(line) for line in lines} == {EVENT_BYTES}
    ids = [msgspec.json.decode(line)["event_id"] for line in lines]
    assert len(set(ids)) == 1_000
    assert {identifier[14] for identifier in ids} == {str(version)}
    assert (sorted(ids) == ids) is (version == 7)
    first = id_offset(event_type) - 1
    assert [line[first : first + ID_LENGTH].decode() for line in lines] == ids


@pytest.mark.integration
def test_it_finds_every_duplicate_and_dead_letter_in_both_days(tmp_path: Path) -> None:
    report = ingest.run(Options(tmp_path, size=0.005))
    facts = report.facts
    assert facts["stored"] == 5_000
    assert facts["received"] == facts["stored"] + facts["duplicates"] + facts["dead_letters"]
    assert facts["duplicates"] > 0
    assert facts["dead_letters"] > 0
    assert "dlt" in facts
    assert all(figure.met is None for figure in report.figures)
