"""After a load, a first producer sees the three most frequent reasons and how to mend each."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from searchflow import warehouse
from searchflow.events import REASON_CODES
from searchflow.ingestion import worker
from searchflow.ingestion.dead_letters import remedies
from searchflow.settings import Settings
from tests import foreign


def lines(first: int, count: int, **changes: object) -> list[bytes]:
    return [foreign.line(**{**foreign.search(first + each), **changes}) for each in range(count)]


@pytest.mark.integration
def test_the_three_most_frequent_reasons_of_a_load_come_with_what_mends_them(
    fresh_platform: Settings, tmp_path: Path
) -> None:
    earlier = foreign.NOW - timedelta(hours=1)
    (tmp_path / "earlier.jsonl").write_bytes(b"\n".join([b"no json"] * 9))
    worker.ingest_files(fresh_platform, tmp_path, clock=lambda: earlier)
    refused = [
        *lines(100, 4, session_id=777),
        *lines(200, 3, timestamp="2026-05-04T09:00:00"),
        *lines(300, 2, timestamp="1999-01-01T00:00:00Z"),
        b"[]",
        *lines(400, 1),
    ]
    (tmp_path / "now.jsonl").write_bytes(b"\n".join(refused) + b"\n")
    worker.ingest_files(fresh_platform, tmp_path, clock=lambda: foreign.NOW)
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        told = remedies.most_frequent(connection, foreign.NOW)
    assert [(row["letters"], row["reason_code"]) for row in told] == [
        (4, "wrong_type"),
        (3, "invalid_value"),
        (2, "timestamp_too_old"),
    ]
    assert "--param field=session_id --param to=string" in told[0]["mend"]
    assert "append Z" in told[1]["reason"]
    assert "SEARCHFLOW_HISTORY_START" in told[2]["mend"]


@pytest.mark.parametrize("code", REASON_CODES)
def test_every_reason_has_a_remedy(code: str) -> None:
    said = remedies.remedy(code, "session_id is a number: Expected str, got int")
    assert said.endswith(".")
    assert "{" not in said
    assert "None" not in said


def test_a_type_that_no_cast_makes_is_mended_by_the_producer() -> None:
    said = remedies.remedy("wrong_type", "filters is an array: Expected object, got array")
    assert "cast_field" not in said
