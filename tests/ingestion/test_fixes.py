"""Fixes repair what they are asked to, leave the rest as it is, and a person's own are found in one folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from searchflow.errors import NotFoundError, UsageError
from searchflow.ingestion.dead_letters import fixes

OWN = '''"""Fixes of ours."""

from json import dumps


def without_prefix(line: bytes, *, length: int) -> bytes:
    """Cut off what a proxy put before the document."""
    return line[length:]


def times(document: dict, *, field: str, factor: float = 100.0) -> dict:
    """Multiply a field."""
    return {**document, field: document[field] * factor}


def _helper(document): ...
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ours.py").write_text(OWN)
    return tmp_path


def fixed(name: str, document: Any, folder: Path = fixes.FOLDER, **texts: str) -> Any:
    return json.loads(fixes.load(name, texts, folder).apply(json.dumps(document).encode()))


@pytest.mark.parametrize(
    ("name", "texts", "before", "after"),
    [
        ("rename_field", {"field": "term", "to": "query"}, {"term": "a"}, {"query": "a"}),
        ("rename_field", {"field": "term", "to": "query"}, {"term": "a", "query": "b"}, {"term": "a", "query": "b"}),
        ("rename_field", {"field": "country", "to": "geo.country"}, {"country": "P", "geo": {}}, {"geo": {"country": "P"}}),
        ("rename_field", {"field": "country", "to": "geo.country"}, {"country": "P"}, {"country": "P"}),
        ("cast_field", {"field": "n", "to": "integer"}, {"n": "12"}, {"n": 12}),
        ("cast_field", {"field": "n", "to": "integer"}, {"n": "9007199254740993"}, {"n": 9007199254740993}),
        ("cast_field", {"field": "n", "to": "integer"}, {"n": 12.0}, {"n": 12}),
        ("cast_field", {"field": "n", "to": "integer"}, {"n": None}, {"n": None}),
        ("cast_field", {"field": "n", "to": "number"}, {"n": "9.5"}, {"n": 9.5}),
        ("cast_field", {"field": "n", "to": "string"}, {"n": 77}, {"n": "77"}),
        ("cast_field", {"field": "n", "to": "boolean"}, {"n": "No"}, {"n": False}),
        ("set_default", {"field": "n", "value": "0"}, {"n": None}, {"n": 0}),
        ("set_default", {"field": "n", "value": "CAD"}, {}, {"n": "CAD"}),
        ("set_default", {"field": "n", "value": '"0"'}, {}, {"n": "0"}),
        ("set_default", {"field": "n", "value": "0"}, {"n": 7}, {"n": 7}),
        ("drop_field", {"field": "geo.city"}, {"geo": {"city": "x", "country": "P"}}, {"geo": {"country": "P"}}),
        ("add_utc_offset", {"offset": "+02:00"}, {"timestamp": "2026-05-20T10:00"}, {"timestamp": "2026-05-20T10:00+02:00"}),
        ("add_utc_offset", {}, {"timestamp": "2026-05-20T10:00Z"}, {"timestamp": "2026-05-20T10:00Z"}),
        ("shift_timestamp", {"hours": "-1.5"}, {"timestamp": "2026-05-20T10:00Z"}, {"timestamp": "2026-05-20T08:30:00+00:00"}),
    ],
)  # fmt: skip
def test_a_fix_changes_what_it_names(name: str, texts: dict[str, str], before: Any, after: Any) -> None:
    assert fixed(name, before, **texts) == after


@pytest.mark.parametrize("value", ["12.5", "twelve", {"a": 1}])
def test_a_value_that_cannot_be_cast_is_the_letters_problem(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        fixed("cast_field", {"n": value}, field="n", to="integer")


def test_what_a_fix_does_not_change_keeps_its_bytes() -> None:
    drop = fixes.load("drop_field", {"field": "colour"})
    for line in (b'{"a" : 1.10,  "b": "\\u00e9"}', b"nonsense", b"[1]", b"\xff"):
        assert drop.apply(line) == line


def test_own_functions_are_found_with_their_parameters(folder: Path) -> None:
    found = fixes.available(folder)
    assert {name for name, fix in found.items() if fix.place != "built in"} == {"times", "without_prefix"}
    assert found["times"].describe() == {
        "fix": "times",
        "takes": "document",
        "parameters": "field, factor=100.0",
        "does": "Multiply a field.",
        "from": f"{folder.name}/ours.py",
    }
    assert fixed("times", {"n": 3}, folder, field="n", factor="2") == {"n": 6.0}
    cut = fixes.load("without_prefix", {"length": "4"}, folder)
    assert cut.takes_bytes
    assert cut.apply(b">>> {}") == b"{}"
    assert cut.text() == "without_prefix(length=4)"


@pytest.mark.parametrize(
    ("name", "texts", "said"),
    [
        ("times", {}, "needs field"),
        ("times", {"field": "n", "by": "2"}, "has no by"),
        ("times", {"field": "n", "factor": "two"}, "type float"),
        ("without_prefix", {"length": "1.5"}, "type int"),
    ],
)
def test_a_wrong_call_names_the_parameter(folder: Path, name: str, texts: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        fixes.load(name, texts, folder)


def test_an_unknown_fix_and_a_broken_file_are_named(folder: Path) -> None:
    with pytest.raises(NotFoundError, match="rename_field"):
        fixes.load("rename_feild", {}, folder)
    (folder / "more.py").write_text("def drop_field(document): ...")
    with pytest.raises(UsageError, match="two fixes named drop_field"):
        fixes.available(folder)
    (folder / "more.py").write_text("def loose(document, field): ...")
    with pytest.raises(UsageError, match=r"loose in .* is not a fix"):
        fixes.available(folder)
    (folder / "more.py").write_text("import no_such_module")
    with pytest.raises(UsageError, match="ModuleNotFoundError"):
        fixes.available(folder)


def test_a_cast_to_nothing_known_is_refused_before_any_letter() -> None:
    with pytest.raises(UsageError, match="integer, number, string, boolean"):
        fixes.load("cast_field", {"field": "n", "to": "date"})
