"""What every room stands on: waits between attempts, which errors pass, SQL quoting, one clock."""

from __future__ import annotations

import ast
from pathlib import Path

import duckdb
import psycopg
import pytest
import redis
from pydantic import SecretStr

from searchflow import warehouse
from searchflow.backoff import Backoff
from searchflow.errors import (
    BusyError,
    ConfigurationError,
    FencedError,
    ServiceError,
    SourceGapError,
    StorageError,
    UsageError,
)
from searchflow.passing import is_passing
from searchflow.quoting import identifier, literal, quoted
from searchflow.settings import ROOT, load_settings

HOSTILE = ["plain", "o'hara", "''", 'say "hi"', "a; DROP TABLE t --", "back\\slash", "ünï\ncode", "$$", "%s", "?"]
CLOCK = {"now", "utcnow", "today"}
PACKAGES = ("searchflow", "activations", "expectations", "dashboards", "flows", "generators")


def test_waits_grow_and_are_counted_between_attempts_only() -> None:
    slept: list[float] = []
    assert list(Backoff(4, 0.5, sleep=slept.append).tries()) == [1, 2, 3, 4]
    assert slept == [0.5, 1.0, 1.5]
    slept.clear()
    for attempt in Backoff(9, 1.0, doubling=True, longest=5.0, sleep=slept.append).tries():
        if attempt == 6:
            break
    assert slept == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert list(Backoff(1, 9.0, sleep=slept.append).tries()) == [1]
    assert len(slept) == 5


def test_jitter_stays_between_nothing_and_the_whole_wait_however_often() -> None:
    for chance in (0.0, 0.25, 1.0):
        backoff = Backoff(5000, 0.2, doubling=True, longest=30.0, jitter=True, chance=lambda chance=chance: chance)
        assert [backoff.wait(attempt) for attempt in (1, 2, 5000)] == [0.2 * chance, 0.4 * chance, 30.0 * chance]


@pytest.mark.parametrize(
    "error",
    [
        ServiceError("away"), BusyError("taken"), FencedError("moved"), ConnectionResetError(), TimeoutError(),
        psycopg.OperationalError(), redis.ConnectionError(), duckdb.IOException(),
    ],
)  # fmt: skip
def test_what_comes_back_by_itself_passes(error: Exception) -> None:
    assert is_passing(error)


@pytest.mark.parametrize(
    "error",
    [
        UsageError("no such file"), ConfigurationError("X", "is wrong.", "Set it."), StorageError("full"),
        SourceGapError("gone"), ValueError(), KeyError("x"), KeyboardInterrupt(), MemoryError(),
    ],
)  # fmt: skip
def test_what_a_person_must_change_and_what_is_a_bug_does_not(error: BaseException) -> None:
    assert not is_passing(error)


@pytest.mark.parametrize("text", HOSTILE)
def test_names_and_values_come_back_from_duckdb_as_they_were(text: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE SCHEMA {identifier(text)}")
        table = f"{identifier(text)}.{identifier(text)}"
        connection.execute(f"CREATE TABLE {table} AS SELECT {literal(text)} AS {identifier(text)}")
        found = connection.execute(f"SELECT {identifier(text)} FROM {table}")
        assert [column[0] for column in found.description or []] == [text]
        assert found.fetchall() == [(text,)]


def test_a_name_with_its_schema_is_two_names() -> None:
    assert quoted('marts.dim"users') == '"marts"."dim""users"'


def test_the_lake_is_attached_as_it_was_at_a_snapshot_whatever_its_addresses_hold(tmp_path: Path) -> None:
    url = SecretStr("postgresql://o%27hara@localhost/postgres")
    settings = load_settings(home=tmp_path).model_copy(update={"postgres_url": url})
    attach = warehouse.attach_statements(settings, snapshot=7)[-2]
    assert len(duckdb.extract_statements(attach)) == 1
    assert "o\\''hara" in attach
    assert attach.endswith(", READ_ONLY, SNAPSHOT_VERSION 7)")


def test_one_module_reads_the_clock() -> None:
    reading = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (
            (
                node.func.attr in CLOCK
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in ("datetime", "date")
            )
            or (node.func.attr == "time" and isinstance(node.func.value, ast.Name) and node.func.value.id == "time")
        )
    }
    assert reading == {"searchflow/clock.py"}
