"""Fields that the contract does not name are reported once, with the shape of a value, and a changed type is too."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from searchflow import warehouse
from searchflow.ingestion import schema_changes, worker
from searchflow.ingestion.file_source import FileSource
from searchflow.ingestion.shapes import Shapes
from searchflow.settings import Settings
from tests import foreign

pytestmark = pytest.mark.integration


def load(settings: Settings, folder: Path, name: str, *documents: dict[str, Any]) -> None:
    (folder / name).write_bytes(b"".join(foreign.line(**document) + b"\n" for document in documents))
    worker.ingest_files(settings, folder / name, clock=lambda: foreign.NOW)


def reported(settings: Settings) -> list[tuple[Any, ...]]:
    with warehouse.connect(settings, read_only=True) as connection:
        return connection.execute(
            "SELECT event_type, field, kind, json_type, previous_types, example FROM ops.schema_changes "
            "ORDER BY first_seen_at, field, kind, json_type"
        ).fetchall()


def test_new_fields_and_changed_types_are_reported_once_and_the_contracts_own_never(
    fresh_platform: Settings, tmp_path: Path
) -> None:
    everything = {
        "filters": {"price_min": 10, "price_max": 99.5, "dates": ["2026-06-01", "2026-06-07"], "travelers": 2},
        "geo": {"country": "PT", "city": "Lisbon", "latitude": 38.7, "longitude": -9.1},
    }
    load(
        fresh_platform,
        tmp_path,
        "known.jsonl",
        foreign.search(1, **everything),
        foreign.click(1),
        foreign.conversion(1),
    )
    assert reported(fresh_platform) == []
    news = {"loyalty": "anna@example.com", "filters": {"stars": 4, "travelers": None}, "empty": None}
    load(fresh_platform, tmp_path, "new.jsonl", foreign.search(2), foreign.search(3, **news), foreign.search(4, **news))
    first = [
        ("search", "filters.stars", "new_field", "number", None, "9"),
        ("search", "loyalty", "new_field", "string", None, "aaaa@aaaaaaa.aaa"),
    ]
    assert reported(fresh_platform) == first
    changed = {"loyalty": {"tier": "gold"}, "filters": {"travelers": "two"}}
    load(fresh_platform, tmp_path, "changed.jsonl", foreign.search(5, **changed), foreign.search(6, **news))
    assert set(reported(fresh_platform)) - set(first) == {
        ("search", "filters.travelers", "type_change", "string", "number", "aaa"),
        ("search", "loyalty", "type_change", "object", "string", "object of 1"),
        ("search", "loyalty.tier", "new_field", "string", None, "aaaa"),
    }
    load(fresh_platform, tmp_path, "again.jsonl", foreign.search(7, **changed), foreign.search(8, **news))
    assert len(reported(fresh_platform)) == 5


def test_an_object_with_ids_as_keys_is_reported_as_a_whole(fresh_platform: Settings, tmp_path: Path) -> None:
    documents = [foreign.search(n, prices={f"hotel-{n}-{k}": k for k in range(50)}) for n in range(1, 9)]
    load(fresh_platform, tmp_path, "map.jsonl", *documents)
    fields = [row[1] for row in reported(fresh_platform)]
    assert "prices.*" in fields
    assert len(fields) == schema_changes.MOST_FIELDS + 2


def test_names_that_are_no_identifiers_are_reported_too(fresh_platform: Settings, tmp_path: Path) -> None:
    odd = {'a "quoted" name': 1, "a.b": 2, "": 3, "naïve": True}
    load(fresh_platform, tmp_path, "odd.jsonl", foreign.search(1, **odd))
    load(fresh_platform, tmp_path, "odd2.jsonl", foreign.search(2, **odd))
    assert [row[1] for row in reported(fresh_platform)] == ["", 'a "quoted" name', "a\\u002eb", "naïve"]


def test_a_number_that_no_float_holds_is_stored_and_stops_nothing(fresh_platform: Settings, tmp_path: Path) -> None:
    huge = foreign.line(**foreign.search(1))[:-1] + b', "huge": 1e999}'
    (tmp_path / "huge.jsonl").write_bytes(huge + b"\n" + foreign.line(**foreign.search(2, stars=4)) + b"\n")
    result = worker.ingest_files(fresh_platform, tmp_path, clock=lambda: foreign.NOW)
    assert (result.counts.received, result.counts.stored) == (2, 2)
    assert [row[1] for row in reported(fresh_platform)] == ["stars"]


def test_of_two_workers_one_reports_a_field_and_both_learn_it(fresh_platform: Settings, tmp_path: Path) -> None:
    shapes = Shapes(), Shapes()

    def drain(worker_number: int, event_number: int, **changes: Any) -> None:
        path = tmp_path / f"{event_number}.jsonl"
        path.write_bytes(foreign.line(**foreign.search(event_number, **changes)) + b"\n")
        with warehouse.connect(fresh_platform) as connection, contextlib.closing(FileSource(path, [])) as source:
            result, known = worker.IngestionResult(), shapes[worker_number]
            how = worker.Draining(lambda: foreign.NOW, result, shapes=known)
            worker.drain(fresh_platform, connection, source, how)

    drain(0, 1, empty=None)
    drain(1, 2, empty=None)
    assert all(each.known("search")["empty"] == set() for each in shapes)
    drain(0, 3, loyalty=1)
    drain(1, 4, loyalty=2)
    drain(0, 5, loyalty=3)
    assert [row[:4] for row in reported(fresh_platform)] == [("search", "loyalty", "new_field", "number")]
    assert all(each.known("search")["loyalty"] == {"number"} for each in shapes)


@pytest.mark.parametrize(
    ("value", "shape"), [("Zoë 12\x1b[0m", "aaa 99?[9a"), (4711.5, "9999.9"), (True, "true"), ([1, 2], "array of 2")]
)
def test_an_example_shows_the_shape_of_a_value_and_no_value(value: object, shape: str) -> None:
    assert schema_changes.masked(value) == shape
