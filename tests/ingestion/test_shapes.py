"""The quick decoder takes only what every closer look would take as well, and learns what it may take."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import msgspec
import pytest

from searchflow import events
from searchflow.events import Rejection
from searchflow.ingestion.checks import TimeLimits, prepare
from searchflow.ingestion.shapes import Shapes
from searchflow.ingestion.source import SourceBatch
from tests import foreign

EVERYTHING = {
    "filters": {"price_min": 10, "price_max": 99.5, "dates": ["2026-06-01", None], "travelers": 2},
    "geo": {"country": "PT", "city": "Évora \\u00e9", "latitude": -38.7, "longitude": 9e1},
    "utm_source": None,
}


def takes(shapes: Shapes, line: bytes) -> bool:
    try:
        shapes.whole.decode(line)
    except events.UNDECODABLE:
        return False
    return True


def test_whatever_is_done_to_a_line_it_is_taken_only_if_it_is_an_event_to_its_last_byte() -> None:
    shapes, draw = Shapes(), random.Random(5)
    whole = [msgspec.json.encode(foreign.search(1, **EVERYTHING)), foreign.line(**foreign.conversion(2))]
    bits = [
        b"\x00",
        b"\x1f",
        b"\x7f",
        b"\xc3",
        b"\xff",
        b"\\",
        b"\\ud800",
        b'"',
        b",",
        b"}",
        b"1e999",
        b"null",
        b"-",
        b" ",
    ]
    taken = []
    for _ in range(6_000):
        line = draw.choice(whole)
        place = draw.randrange(len(line))
        line = line[:place] + draw.choice([*bits, bytes([draw.randrange(256)])]) + line[place + draw.randrange(2) :]
        if takes(shapes, line):
            taken.append(line)
    assert len(taken) > 500
    for line in taken:
        assert not isinstance(events.decode_one(line), Rejection)
    texts = [line.decode("utf-8") for line in taken]
    with duckdb.connect(":memory:") as connection:
        rows = connection.execute("SELECT count(*) FROM unnest(?) AS t (line) WHERE NOT json_valid(line)", [texts])
        assert rows.fetchall() == [(0,)]


@pytest.mark.parametrize(
    "changes",
    [
        {"loyalty": 1},
        {"geo": {"zone": 1}},
        {"geo": {"country": 1}},
        {"filters": {"dates": "soon"}},
        {"filters": {"stars": None}},
    ],
)
def test_what_is_new_is_not_taken_before_it_was_learnt(changes: dict[str, Any]) -> None:
    shapes, line = Shapes(), foreign.line(**foreign.search(1, **changes))
    older = shapes.whole
    assert not takes(shapes, line)
    shapes.learn("click", {"loyalty": {"number"}})
    assert not takes(shapes, line)
    shapes.learn(
        "search",
        {
            "loyalty": {"number"},
            "geo.zone": {"number"},
            "geo.country": {"number"},
            "filters.dates": {"string"},
            "filters.stars": set(),
        },
    )
    assert takes(shapes, line)
    assert takes(shapes, foreign.line(**foreign.search(2, **EVERYTHING)))
    with pytest.raises(msgspec.ValidationError):
        older.decode(line)


def test_the_keys_of_a_map_are_never_new_and_names_it_cannot_hold_are_looked_at_each_time() -> None:
    shapes = Shapes()
    shapes.learn("search", {"prices": {"object"}, "prices.*": {"*"}, 'a "name"': {"number"}, "naïve": {"boolean"}})
    assert takes(shapes, foreign.line(**foreign.search(1, prices={"hotel-1": 3, "hotel-2": {"deep": []}}, naïve=True)))
    assert not takes(shapes, foreign.line(**foreign.search(1, **{'a "name"': 1})))


@pytest.mark.parametrize("code", sorted(foreign.refused()))
def test_each_refused_line_is_set_aside_for_its_reason_beside_good_ones(code: str) -> None:
    refused = foreign.refused()[code]
    good = [foreign.line(**foreign.search(1, loyalty=2)), foreign.line(**foreign.click(1))]
    batch = SourceBatch([good[0], *refused, good[1]], [str(place) for place in range(len(refused) + 2)], "")
    limits = TimeLimits(datetime(2015, 1, 1, tzinfo=UTC), timedelta(minutes=5), timedelta(hours=1))
    with duckdb.connect(":memory:") as connection:
        prepared = prepare(connection, batch, None, foreign.NOW, limits)
    assert {line: why.code for _, line, why in prepared.rejected} == dict.fromkeys(
        [line[: events.MAX_EVENT_BYTES] for line in refused], code
    )
    kept = {kind: table.column("seq").to_pylist() for kind, table in prepared.columns.items() if len(table)}
    assert kept == {"search": [0], "click": [len(refused) + 1]}
    assert 0 in prepared.unfamiliar
    assert len(refused) + 1 not in prepared.unfamiliar
