"""A home that was copied opens at another path, beside the one that it was copied from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from searchflow import lifecycle, warehouse
from searchflow.errors import ConfigurationError
from searchflow.ingestion.worker import ingest_files
from searchflow.services import postgres, process, valkey
from searchflow.settings import Settings, load_settings
from tests import foreign
from tests.conftest import temporary_home

pytestmark = pytest.mark.integration


def lines(*numbers: int) -> bytes:
    return b"".join(json.dumps(foreign.search(number)).encode() + b"\n" for number in numbers)


def counted(settings: Settings) -> object:
    with warehouse.connect(settings, read_only=True) as connection:
        return connection.execute("SELECT count(*), min(payload) FROM raw.search_events").fetchone()


def test_a_copied_home_opens_at_another_path_and_the_original_stays_as_it_is(
    own_servers: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(lines(*range(1, 1001)))  # enough for a Parquet file
    ingest_files(own_servers, file, clock=lambda: foreign.NOW)
    before = counted(own_servers)
    lifecycle.stop_all(own_servers)
    with temporary_home() as folder:
        home = folder / "copy"
        shutil.copytree(own_servers.home, home, symlinks=True)
        copy = load_settings(home=home)
        lifecycle.start(own_servers)  # both run
        try:
            lifecycle.start(copy)
            assert counted(copy) == before
            file.write_bytes(lines(*range(1, 1002)))
            ingest_files(copy, file, clock=lambda: foreign.NOW)
            assert counted(copy) != before == counted(own_servers)
            with warehouse.connect(copy) as connection:
                files = connection.execute(
                    "SELECT data_file FROM ducklake_list_files('lake', 'search_events', schema => 'raw')"
                ).fetchall()
            assert files
            assert all(name.startswith(str(home)) for (name,) in files)
        finally:
            lifecycle.stop_all(copy)
        assert counted(own_servers) == before


def test_the_processes_of_the_original_are_not_those_of_its_copy(own_servers: Settings) -> None:
    with temporary_home() as folder:
        copy = load_settings(home=folder / "copy")
        shutil.copytree(own_servers.run_dir, copy.run_dir)
        assert process.recorded(copy) == ["postgres", "valkey"]
        assert process.running(copy, "postgres") is None
        assert lifecycle.stop_all(copy) == []
    postgres.check(own_servers)
    valkey.check(own_servers)


def test_a_home_beside_another_ones_catalog_is_refused(own_servers: Settings) -> None:
    with temporary_home() as folder:
        beside = load_settings(
            home=folder,
            redis_url=valkey.url(own_servers),
            postgres_url=f"postgresql://postgres@/postgres?host={postgres.socket_folder(own_servers)}",
        )
        with pytest.raises(ConfigurationError, match=str(own_servers.home)):
            lifecycle.start(beside)
        assert counted(own_servers) is not None
