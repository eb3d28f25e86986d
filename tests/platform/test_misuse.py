"""A user's mistake is one line that names what to change, with exit status 2, never a traceback."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from searchflow import lifecycle
from searchflow.services import postgres, valkey
from searchflow.settings import Settings
from tests.commands import CommandLine
from tests.transformation.test_empty_windows import COUNT

pytestmark = pytest.mark.integration


def refused(done: subprocess.CompletedProcess[str], *said: str) -> None:
    lines = [line for line in done.stderr.strip().splitlines() if not line.startswith("searchflow: starting ")]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert done.stdout == ""
    for words in said:
        assert words in lines[0]
    assert lines[0].endswith((".", "`"))


@pytest.fixture
def cli(home: Path) -> CommandLine:
    return CommandLine(home)


def test_an_unreachable_stream_server(cli: CommandLine) -> None:
    done = cli.run("ingest", SEARCHFLOW_REDIS_URL="redis://:hunter2@127.0.0.1:1/0")
    refused(done, "SEARCHFLOW_REDIS_URL", "cannot be reached")
    assert "hunter2" not in done.stderr
    assert not any(cli.home.iterdir())  # nothing was started or written


def test_an_unreachable_postgres(cli: CommandLine) -> None:
    done = cli.run("transform", SEARCHFLOW_POSTGRES_URL="postgresql://me:hunter2@127.0.0.1:1/postgres")
    refused(done, "SEARCHFLOW_POSTGRES_URL")
    assert "hunter2" not in done.stderr


def test_a_wrong_password(cli: CommandLine, own_servers: Settings) -> None:
    with valkey.client(own_servers) as client:
        client.config_set("requirepass", "right")
    try:
        url = f"unix://:hunter2@{valkey.url(own_servers).removeprefix('unix://')}"
        done = cli.run("ingest", SEARCHFLOW_REDIS_URL=url)
        refused(done, "refused the user or password")
        assert "hunter2" not in done.stderr
    finally:
        assert lifecycle.stop_all(own_servers)


def test_a_wrong_postgres_password(cli: CommandLine, own_servers: Settings) -> None:
    import psycopg

    with psycopg.connect(postgres.server_conninfo(own_servers), autocommit=True) as connection:
        connection.execute("CREATE ROLE analyst LOGIN PASSWORD 'right'")
    rules = postgres.data_dir(own_servers) / "pg_hba.conf"
    rules.write_text("local all analyst scram-sha-256\n" + rules.read_text())
    with psycopg.connect(postgres.server_conninfo(own_servers), autocommit=True) as connection:
        connection.execute("SELECT pg_reload_conf()")
    url = f"postgresql://analyst:hunter2@/postgres?host={postgres.socket_folder(own_servers)}"
    done = cli.run("ingest", SEARCHFLOW_POSTGRES_URL=url)
    refused(done, "SEARCHFLOW_POSTGRES_URL")
    assert "hunter2" not in done.stderr


def test_urls_that_are_none(cli: CommandLine) -> None:
    refused(cli.run("ingest", SEARCHFLOW_REDIS_URL="localhost:6379"), "SEARCHFLOW_REDIS_URL")
    refused(cli.run("ingest", SEARCHFLOW_POSTGRES_URL="what is this"), "SEARCHFLOW_POSTGRES_URL")
    refused(cli.run("ingest", SEARCHFLOW_PREFECT_PORT="many"), "SEARCHFLOW_PREFECT_PORT")


@pytest.mark.parametrize("command", ["demo", "up", "ingest"])
def test_a_home_that_cannot_be_written(cli: CommandLine, command: str) -> None:
    refused(cli.run(command, SEARCHFLOW_HOME="/proc/searchflow"), "SEARCHFLOW_HOME")


def test_a_home_that_is_a_file(cli: CommandLine) -> None:
    (cli.home / "file").write_text("")
    refused(cli.run("demo", SEARCHFLOW_HOME=str(cli.home / "file")), "SEARCHFLOW_HOME")


def test_unknown_names(cli: CommandLine) -> None:
    refused(cli.run("activate", "crm_user_segment"), "crm_user_segments")
    refused(cli.run("reconcile", "nothing"), "Known:")
    refused(cli.run("validate", "marts.nothing"), "marts.")
    refused(cli.run("nonsense"), "--help")
    refused(cli.run("ingest", "--from", "/nowhere"), "/nowhere")
    refused(cli.run("generate", "--to", "nowhere"), "redis, files, warehouse, stdout")
    refused(cli.run("demo", "--days", "many"), "--help")


def test_an_unknown_table_and_a_query_that_is_none(cli: CommandLine) -> None:
    lifecycle.start(cli.settings)
    refused(cli.run("query", "SELECT * FROM marts.nothing"), "no table")
    refused(cli.run("query", "DROP TABLE raw.search_events"), "SELECT")
    refused(cli.run("query", "SELECT * FROM read_csv('/etc/passwd')"), "read_csv")
    refused(cli.run("query", "SELECT * FROM '/etc/passwd.csv'"))
    refused(cli.run("query", "EXPLAIN SELECT * FROM postgres_query('x', 'SELECT 1')"), "SELECT")
    refused(cli.run("query", "SELEC 1"), "Correct it")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="one thread has no race")
def test_a_query_that_breaks_the_engine_is_not_called_wrong(cli: CommandLine) -> None:
    counts = " + ".join(f"({COUNT.format(window='()').replace('i > 5', f'i > {each + 5}')})" for each in range(100))
    lifecycle.start(cli.settings)
    with cli.warm():
        tries = (cli.run("query", f"SELECT {counts} AS n") for _ in range(200))
        refused(
            next(done for done in tries if done.returncode), "DuckDB itself failed: INTERNAL", "Run the query again"
        )
        assert cli.json("query", "SELECT 1 AS n") == [{"n": 1}]


@pytest.mark.parametrize(
    ("variable", "command"), [("SEARCHFLOW_PREFECT_PORT", "demo"), ("SEARCHFLOW_DASHBOARDS_PORT", "up")]
)
def test_a_port_in_use(cli: CommandLine, variable: str, command: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused(cli.run(command, **{variable: str(port)}), variable, str(port))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk(cli: CommandLine) -> None:
    """A home on a file system that is too small: said in one line, and the same command works once there is room."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", str(cli.home)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small file system here: {mounted.stderr.strip()}")
    try:
        refused(cli.run("ingest"), "full")
        subprocess.run(["mount", "-o", "remount,size=600m,mode=0700", str(cli.home)], check=True)
        assert cli.run("ingest").returncode == 0
    finally:
        lifecycle.stop_all(cli.settings)
        subprocess.run(["umount", str(cli.home)], check=True)
