"""A key that the contract names stands once in a document: else two readers would find two values."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest

from searchflow.events import EVENT_CLASSES
from searchflow.ingestion import repeats
from searchflow.ingestion.checks import PreparedBatch, TimeLimits, prepare
from searchflow.ingestion.source import SourceBatch
from tests import foreign

LIMITS = TimeLimits(datetime(2015, 1, 1, tzinfo=UTC), timedelta(minutes=5), timedelta(hours=1))
DOCUMENTS = {"search": foreign.search, "click": foreign.click, "conversion": foreign.conversion}
VALUES: dict[str, Any] = {"filters": {"travelers": 2}, "geo": {"country": "PT"}}


def prepared(*lines: bytes) -> PreparedBatch:
    with duckdb.connect(":memory:") as connection:
        batch = SourceBatch(list(lines), [str(place) for place in range(len(lines))], "")
        return prepare(connection, batch, None, foreign.NOW, LIMITS)


def reasons(*lines: bytes) -> list[tuple[str, str]]:
    return [(why.code, why.reason) for _, _, why in prepared(*lines).rejected]


def twice(document: dict[str, Any], path: str, sign: str = ": ") -> bytes:
    """The document as text, with one more pair for `path` in front."""
    parent, _, name = path.rpartition(".")
    if parent:
        inner = twice({"a": 0, name: 1, **document.get(parent, {})}, name, sign).decode()
        return json.dumps({**document, parent: "?"}).replace('"?"', inner).encode()
    value = json.dumps(document.get(name, 1))
    return (f'{{"{name}"{sign}{value}, ' + json.dumps({name: document.get(name, 1), **document})[1:]).encode()


@pytest.mark.parametrize("path", sorted({(t, p) for t in EVENT_CLASSES for p in repeats.named_keys(t)}))
def test_each_key_of_the_contract_stands_once(path: tuple[str, str]) -> None:
    event_type, key = path
    for sign in (":", ": ", " :", "\t: ", "\r :"):
        line = twice(DOCUMENTS[event_type](1), key, sign)
        json.loads(line)
        assert reasons(line) == [("invalid_json", f"the key {key} stands in the document more than once")]


@pytest.mark.parametrize(
    "line",
    [
        b'{"booking\\u005fvalue": -777, ' + foreign.line(**foreign.conversion(1))[1:],
        foreign.line(**foreign.conversion(1))[:-1] + b', "\\u0063urrency":"USD"}',
        foreign.line(**foreign.search(1, geo={}))[:-1] + b', "geo":{"country":"A","\\u0063ountry":"B"}}',
        b'{"booking_value": "n/a", ' + foreign.line(**foreign.conversion(1))[1:],
        foreign.line(**foreign.conversion(1))[:-1] + b', "big": ' + b"1" * 5_000 + b', "currency":"USD"}',
        foreign.line(**foreign.search(1, new={"deep": [1]}))[:-1] + b', "query":"again"}',
    ],
)
def test_however_the_key_is_written_and_whatever_stands_beside_it(line: bytes) -> None:
    [(code, reason)] = reasons(line)
    assert code == "invalid_json"
    assert "stands in the document more than once" in reason


@pytest.mark.parametrize(
    "line",
    [
        foreign.line(**foreign.search(1))[:-1] + b', "loyalty": 1, "loyalty": 2}',
        foreign.line(**foreign.search(1))[:-1] + b', "currency": 1, "currency": 2}',  # of another event type
        foreign.line(**foreign.search(1, extra={"query": "a", "page": 1})),
        foreign.line(**foreign.search(1))[:-1] + b', "extra": {"query": 1, "query": 2}}',
        foreign.line(**foreign.search(1, query='"page": "page": \\"page\\":1,"page":2')),
        foreign.line(**foreign.search(1, query="bed : breakfast", geo={"city": "Évora"})),
        foreign.line(**foreign.click(1, my_event_id="x", geo={"country": "PT", "result_id": "y"})),
    ],
)
def test_what_the_contract_does_not_name_is_kept(line: bytes) -> None:
    assert reasons(line) == []


def test_suspects_are_all_that_repeat_a_key_wherever_they_stand() -> None:
    draw, lines, repeating = random.Random(3), list[bytes](), set[int]()
    for number in range(6_000):
        event_type = draw.choice(sorted(DOCUMENTS))
        document = DOCUMENTS[event_type](number, **({"user_id": "é\n"} if draw.random() < 0.3 else {}))
        if draw.random() < 0.01:
            repeating.add(len(lines))
            lines.append(twice(document, draw.choice(sorted(repeats.named_keys(event_type)))))
        else:
            lines.append(draw.choice([b"", b"no document", b"{}", json.dumps(document).encode()]))
    found = repeats.suspects(lines)
    assert repeating <= found
    assert len(found) < 2 * len(repeating) + 10


def test_a_batch_tells_the_good_from_the_repeating() -> None:
    lines = [foreign.line(**foreign.search(number)) for number in range(50)]
    lines[17] = twice(foreign.search(17), "user_id")
    made = prepared(*lines)
    assert [place for place, _, _ in made.rejected] == ["17"]
    assert len(made.columns["search"]) == 49
