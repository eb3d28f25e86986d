"""Two runs in one process are told apart in the audit log, and the name of one never gets into the other's connections."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from searchflow import actor, warehouse
from searchflow.ops import audit_log
from searchflow.services import postgres, waiting
from searchflow.settings import Settings


@pytest.mark.parametrize("name", ["ingestion|ada|7", "searchflow demo|ada lovelace|", "back\\slash\tand tab|ö|x", ""])
def test_a_name_passes_through_a_connection_string_unquoted(name: str) -> None:
    said = f"host=/tmp/pg dbname=catalog {actor.option(name)}"
    assert "'" not in said
    assert conninfo_to_dict(said).get("application_name", "") == name


def test_a_quote_in_a_name_cannot_end_the_string() -> None:
    said = actor.option("o'hara host=evil|x|")
    assert conninfo_to_dict(said) == {"application_name": "ohara host=evil|x|"}


def test_a_block_is_named_in_its_own_thread_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(actor.VARIABLE, "searchflow up|ada|")
    both = threading.Barrier(2, timeout=20)

    def named(process: str) -> tuple[str, str]:
        with actor.announced(process, "run"):
            both.wait()  # both blocks are open now
            return actor.current(), waiting.command()

    with ThreadPoolExecutor(2) as threads:
        told = list(threads.map(named, ["ingestion", "activation"]))
    assert told == [(f"{name}|{actor.user()}|run", name) for name in ("ingestion", "activation")]
    assert os.environ[actor.VARIABLE] == actor.current() == "searchflow up|ada|"


def test_a_thread_takes_the_name_along_with_its_context() -> None:
    with actor.announced("ingestion", "run-1"), ThreadPoolExecutor(1) as threads:
        assert threads.submit(copy_context().run, actor.current).result().startswith("ingestion|")
        assert threads.submit(actor.inside).result() is None


@pytest.mark.integration
def test_commits_and_reads_of_two_runs_at_once_are_entered_under_their_own(platform: Settings) -> None:
    both = threading.Barrier(2, timeout=60)

    def work(process: str) -> str:
        run = f"two-{process}"
        with actor.announced(process, run):
            both.wait()
            with warehouse.connect(platform) as connection:
                both.wait()
                with warehouse.transaction(connection):
                    connection.execute("INSERT INTO ops.stage_runs (run_id) VALUES (?)", [run])
            audit_log.append(platform, "read", f"raw.{process}")
            with psycopg.connect(postgres.conninfo(platform, "ledger")) as ledger:
                row = ledger.execute("SELECT current_setting('application_name')").fetchone()
        assert row is not None
        return str(row[0])

    with ThreadPoolExecutor(2) as threads:
        names = list(threads.map(work, ["search", "click"]))
    assert names == [f"{name}|{actor.user()}|two-{name}" for name in ("search", "click")]
    for process in ("search", "click"):
        entries = audit_log.show(platform, run_id=f"two-{process}")
        assert {entry["process"] for entry in entries} == {process}
        assert {entry["action"] for entry in entries} == {"read", "write"}


def test_what_is_written_into_files_names_no_one(platform: Settings) -> None:
    with actor.announced("ingestion", "run-9"):
        assert "application_name" not in postgres.plain_conninfo(platform, "catalog")
        assert conninfo_to_dict(postgres.conninfo(platform, "catalog"))["application_name"].endswith("|run-9")
