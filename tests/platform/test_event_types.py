"""An event type is declared once; everything else follows from its file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from searchflow import event_types
from searchflow.errors import ConfigurationError
from searchflow.settings import ROOT, Settings

CANCELLATION = """\
about: A booking was cancelled.
title: Cancellations
plural: cancellations
session: optional
color: vermilion
fields:
  conversion_event_id: {type: identifier, required: true, refers_to: conversion, any_time: true}
  cancelled_value: {type: amount}
  reason: {type: text, personal: true}
"""
KEPT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "node_modules")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which one more event type is declared: one file."""
    root = tmp_path_factory.mktemp("scratch") / "repository"
    shutil.copytree(ROOT, root, ignore=KEPT_OUT)
    (root / "searchflow" / "event_types" / "cancellation.yaml").write_text(CANCELLATION)
    return root


def run(root: Path, *words: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    return done.stdout


def test_each_registry_knows_a_type_that_is_declared_by_one_file(scratch: Path, tmp_path: Path) -> None:
    answer = run(scratch, "tests.platform.further_type", "registries", "cancellation", SEARCHFLOW_HOME=str(tmp_path))
    known: dict[str, bool] = json.loads(answer)
    assert [name for name, knows in known.items() if not knows] == []
    assert len(known) > 20


def test_files_that_other_programs_read_are_made_from_the_declaration(scratch: Path) -> None:
    stale = subprocess.run(
        [sys.executable, "-m", "searchflow.devtools.docs"], cwd=scratch, capture_output=True, text=True, check=False
    )
    assert "external_models.yaml" in stale.stdout
    assert "docs/reference/event-types.md" in stale.stdout
    run(scratch, "searchflow.devtools.docs", "--write")
    tables = {each["name"]: each for each in yaml.safe_load((scratch / "external_models.yaml").read_text())}
    assert set(tables["raw.cancellation_events"]["columns"]) == set(tables["raw.search_events"]["columns"])
    assert "| `cancellation` | `reason` | text | optional, personal |" in (
        scratch / "docs" / "reference" / "event-types.md"
    ).read_text().replace("  ", " ")


@pytest.mark.integration
def test_an_event_of_a_further_type_is_stored_counted_masked_and_erased(
    scratch: Path, fresh_platform: Settings
) -> None:
    redis_url, postgres_url = fresh_platform.redis_url, fresh_platform.postgres_url
    assert redis_url is not None
    assert postgres_url is not None
    answer = run(
        scratch,
        "tests.platform.further_type",
        "events",
        "cancellation",
        SEARCHFLOW_HOME=str(fresh_platform.home),
        SEARCHFLOW_REDIS_URL=redis_url.get_secret_value(),
        SEARCHFLOW_POSTGRES_URL=postgres_url.get_secret_value(),
        SEARCHFLOW_POSTGRES_PREFIX=fresh_platform.postgres_prefix,
    )
    found: dict[str, Any] = json.loads(answer)
    types = [["cancellation"], ["click"], ["conversion"], ["search"]]
    assert found == {
        "published": 4,
        "stored": [["maya", None]],
        "letters": [],
        "accounting": True,
        "lateness": types,
        "declared": types,
        "days of searches": ["2026-04-10"],  # of the booking's search, which lies before the funnel's window
        "masked": [["•••"]],
        "left after an erasure": [[0]],
    }


def test_a_type_stands_behind_those_that_it_refers_to_whatever_the_files_are_called(tmp_path: Path) -> None:
    for name, refers_to in (("a_last", "b_middle"), ("b_middle", "c_first"), ("c_first", None)):
        field = f"fields: {{other_id: {{type: identifier, refers_to: {refers_to}}}}}\n" if refers_to else ""
        (tmp_path / f"{name}.yaml").write_text(f"about: x\ntitle: X\nplural: {name}s\n{field}")
    assert list(event_types.read_all(tmp_path)) == ["c_first", "b_middle", "a_last"]


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("cancellation", "refers_to: conversion", "refers_to: booking", r"line 7, .*there is no event type booking"),
        ("cancellation", "type: amount", "type: money", r"line 8, fields\.cancelled_value\.type"),
        ("cancellation", "  reason:", "  user_id:", r"line 9, fields\.user_id: every event has this field"),
        ("cancellation", "  reason:", "  Reason:", r"line 9, .*small letters"),
        ("cancellation", "personal: true", "personel: true", r"line 9, .*personel"),
        (
            "cancellation",
            "plural: cancellations",
            "plural: clicks",
            r"line 3, plural: the event type c\w+ has the same plural",
        ),
        ("cancellation", "plural: cancellations", "plural: a; DROP", r"line 3, plural: it becomes part of names"),
        ("cancellation", "plural: cancellations", "plural: events", r"line 3, plural: late_events counts"),
        ("cancellation", "title: Cancellations\n", "", r"title"),
        ("cancellation", "type: amount", "type: amount, default: free", r"line 8, .*cannot have this default"),
        ("cancellation", "type: amount", "type: amount, default: true", r"line 8, .*cannot have this default"),
        ("cancellation", "type: amount", "type: amount, any_time: true", r"line 8, .*refers to no event"),
        ("file", "", "", r"file\.yaml, line 1, .*uses the name file"),
        ("Cancel-lation", "", "", r"small letters, digits and underscores"),
    ],
)
def test_a_wrong_declaration_is_one_line_that_names_file_line_and_field(
    tmp_path: Path, name: str, old: str, new: str, said: str
) -> None:
    shutil.copytree(event_types.FOLDER, tmp_path / "types", ignore=KEPT_OUT)
    path = tmp_path / "types" / f"{name}.yaml"
    assert not old or CANCELLATION.count(old) == 1
    path.write_text(CANCELLATION.replace(old, new) if old else CANCELLATION)
    with pytest.raises(ConfigurationError, match=said) as raised:
        event_types.read_all(tmp_path / "types")
    assert "\n" not in str(raised.value)
    assert ".yaml" in str(raised.value)


def test_types_that_refer_to_each_other_in_a_ring_are_named(tmp_path: Path) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / f"{name}.yaml").write_text(
            f"about: x\ntitle: X\nplural: {name}s\nfields: {{other_id: {{type: identifier, refers_to: {other}}}}}\n"
        )
    with pytest.raises(ConfigurationError, match=r"(one|two) → (one|two) → (one|two)"):
        event_types.read_all(tmp_path)


ON_PURPOSE = {
    "benchmarks/freshness.py": "the traffic that it sends",
    "benchmarks/history.py": "the traffic that it writes",
    "benchmarks/ingestion/traffic.py": "the traffic that it sends",
    "benchmarks/marts.py": "the rows that it makes",
    "generators/funnel.py": "what a simulated traveller does",
    "generators/plots.py": "the simulated funnel",
    "generators/rendering.py": "how each event is written",
    "generators/truth.py": "the answer key of the funnel",
    "searchflow/verification/checks.py": "the funnel, computed again",
    "searchflow/verification/expected.py": "the funnel, computed again",
}
"""Files that name search, click and conversion because they mean the funnel, and not every event type."""
NAMES = (
    [rf"""["']{name}["']""" for name in ("search", "click", "conversion")],
    [rf"\b{name}_events\b" for name in ("search", "click", "conversion")],
    [rf"\blate_{name}\b" for name in ("searches", "clicks", "conversions")],
    [rf"\bevents:{name}\b" for name in ("search", "click", "conversion")],
)
NEAR = 14
"""Lines within which names make a list."""


def listed(text: str) -> bool:
    """Return whether the three names of one kind stand close together."""
    lines = text.splitlines()
    places = [[[at for at, line in enumerate(lines) if re.search(name, line)] for name in kind] for kind in NAMES]
    return any(
        all(any(abs(at - first) <= NEAR for at in others) for others in rest)
        for first_places, *rest in places
        for first in first_places
    )


def test_no_python_file_keeps_a_list_of_event_types_of_its_own() -> None:
    packages = ("searchflow", "flows", "generators", "activations", "expectations", "dashboards", "benchmarks")
    paths = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in paths if listed(path.read_text(encoding="utf-8"))}
    assert found == set(ON_PURPOSE), "read searchflow.event_types, or say why the list is meant"
