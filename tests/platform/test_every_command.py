"""Every command, and what it does where something is missing: one line that says what to do, the right exit status, no
traceback, and no server that it did not say it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from searchflow import lifecycle
from searchflow.cli.needs import NEEDS, NOTHING, OWN, PREFECT, READS, STARTS, STARTS_PREFECT
from searchflow.services import postgres, process, valkey
from searchflow.settings import Settings
from tests import clusters
from tests.commands import CommandLine

pytestmark = pytest.mark.integration

KEY = ("email", "resolve", "some-key", "--sent")
CALLS: dict[str, tuple[str, ...]] = {
    "demo": ("demo", "--days", "1"),
    "up": ("up", "--rate", "0"),
    "down": ("down",),
    "status": ("status",),
    "login": ("login",),
    "dashboards": ("dashboards",),
    "generate": ("generate", "--days", "1"),
    "generate --to files": ("generate", "--to", "files", "--days", "2", "--events", "50"),
    "generate --to stdout": ("generate", "--to", "stdout", "--days", "2", "--events", "50"),
    "replay": ("replay", "recorded.jsonl"),
    "replay --to files": ("replay", "recorded.jsonl", "--to", "files"),
    "replay --to stdout": ("replay", "recorded.jsonl", "--to", "stdout"),
    "ingest": ("ingest",),
    "ingest --accept-gap": ("ingest", "--accept-gap", "search"),
    "transform": ("transform",),
    "deploy": ("deploy", "--yes"),
    "deploy --plan": ("deploy", "--plan"),
    "validate": ("validate", "raw"),
    "activate": ("activate",),
    "reconcile": ("reconcile",),
    "query": ("query", "SELECT 1 AS one"),
    "tables": ("tables",),
    "lineage": ("lineage", "marts.dim_users"),
    "verify": ("verify",),
    "bench": ("bench", "generate", "--size", "0.001"),
    "bench --list": ("bench", "--list"),
    "publish": ("publish",),
    "schema": ("schema",),
    "lateness": ("lateness",),
    "metrics": ("metrics",),
    "forget": ("forget", "u1", "--yes"),
    "forget --dry-run": ("forget", "u1", "--dry-run"),
    "sqlmesh": ("sqlmesh", "environments"),
    "sqlmesh lint": ("sqlmesh", "lint"),
    "prefect": ("prefect", "deployment", "ls"),
    "held list": ("held", "list"),
    "held release": ("held", "release"),
    "dlq list": ("dlq", "list"),
    "dlq show": ("dlq", "show", "3f0c"),
    "dlq fixes": ("dlq", "fixes"),
    "dlq replay": ("dlq", "replay", "--no-transform"),
    "dlq replay --dry-run": ("dlq", "replay", "--dry-run"),
    "dlq discard": ("dlq", "discard", "--all", "--why", "a test"),
    "email deliver": ("email", "deliver"),
    "email status": ("email", "status"),
    "email resolve": KEY,
    "email suppress": ("email", "suppress", "u1"),
    "email unsuppress": ("email", "unsuppress", "u1"),
    "email suppressed": ("email", "suppressed"),
    "email preview": ("email", "preview"),
    "email preview --user": ("email", "preview", "--user", "u1"),
    "explain user": ("explain", "user", "u1"),
    "audit show": ("audit", "show"),
    "audit verify": ("audit", "verify"),
    "roles create": ("roles", "create"),
    "roles show": ("roles", "show"),
    "privacy columns": ("privacy", "columns"),
    "privacy mask": ("privacy", "mask"),
    "privacy export": ("privacy", "export", "marts.mart_kpi_daily", "--out", "kpis.csv"),
}
"""A call of each command that `NEEDS` names."""
MAIL = {
    "SEARCHFLOW_SMTP_URL": "smtp+plain://127.0.0.1:1",
    "SEARCHFLOW_EMAIL_FROM": "hello@example.com",
    "SEARCHFLOW_EMAIL_UNSUBSCRIBE_URL": "https://www.example.com/out?t={token}",
}
"""Without it, `email deliver` says what to set before it looks at any server."""
EVENT = (
    '{"event_id": "01a21a54-63ef-7ca0-b4c8-0f35852c0571", "event_type": "search", "timestamp": "2026-05-01T00:00:00Z", '
    '"session_id": "s", "query": "lisbon"}\n'
)


def calls(*needs: str) -> list[str]:
    return [name for name, said in NEEDS.items() if said in needs]


@pytest.fixture
def cli(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recorded.jsonl").write_text(EVENT)
    line = CommandLine(home)
    line.environment |= MAIL | {"TEST_FOLDER": str(tmp_path)}
    return line


def run(cli: CommandLine, name: str) -> subprocess.CompletedProcess[str]:
    """One call; words that are files of this test are named in full: the shell stands in the repository."""
    folder = Path(cli.environment["TEST_FOLDER"])
    words = [str(folder / word) if word.endswith((".jsonl", ".csv")) else word for word in CALLS[name]]
    if name.endswith("--to files"):
        words += ["--out", str(folder / "out")]
    return cli.run(*words)


def one_line(done: subprocess.CompletedProcess[str], *said: str, status: int = 2) -> None:
    lines = [line for line in done.stderr.strip().splitlines() if not line.startswith("searchflow: starting ")]
    assert done.returncode == status, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("searchflow: ")
    for words in said:
        assert words in lines[0], lines[0]


def living(home: Path) -> set[str]:
    """Servers and background processes that belong to a home, recorded or not."""
    found = set()
    for each in psutil.process_iter(["pid", "cmdline"]):
        command = " ".join(each.info["cmdline"] or ())
        if str(home) in command and "tests.shell" not in command and each.pid != os.getpid():
            found.add(Path((each.info["cmdline"] or ("?",))[0]).name)
    return found


def test_each_command_says_what_it_needs() -> None:
    assert CALLS.keys() == NEEDS.keys()


def test_on_a_home_that_does_not_exist_nothing_is_made(cli: CommandLine) -> None:
    nowhere = cli.home / "nowhere"
    cli.environment["SEARCHFLOW_HOME"] = str(nowhere)
    existing = [name for name in calls(STARTS) if name not in ("replay", "dashboards")]
    with cli.warm():
        for name in [*calls(READS, PREFECT), *existing]:
            done = run(cli, name)
            if name == "verify":
                one_line(done)  # it looks for the answer key first
            else:
                one_line(done, str(nowhere), "Run `searchflow up`" if name == "prefect" else "searchflow demo")
            assert not nowhere.exists(), name


def test_on_a_stopped_home_what_reads_starts_nothing_and_says_what_to_run(cli: CommandLine) -> None:
    process.prepare_home(cli.settings)
    with cli.warm():
        for name in calls(READS, PREFECT):
            done = run(cli, name)
            one_line(done) if name == "verify" else one_line(done, str(cli.home), "Run `searchflow up`")
            assert done.stdout == "", name
            assert living(cli.home) == set(), name


def test_what_needs_no_server_starts_none(cli: CommandLine) -> None:
    with cli.warm():
        for name in calls(NOTHING):
            if name == "login":  # of a home that is there
                process.prepare_home(cli.settings)
            done = run(cli, name)
            assert done.returncode == (1 if name == "status" else 0), (name, done.stderr)
            assert "Traceback" not in done.stderr
            assert "starting" not in done.stderr
            assert living(cli.home) == set(), name
            assert process.recorded(cli.settings) == [], name
        assert cli.run("--help").returncode == 0
        assert cli.run("forget", "--help").returncode == 0
        assert living(cli.home) == set()
    shown = cli.json("bench", "--list")
    assert shown


def test_what_starts_servers_says_so_and_starts_just_those(cli: CommandLine) -> None:
    """Prefect is not let up here: its port is taken, which ends each command once it has said what it starts."""
    import socket

    clusters.give(cli.settings)
    with socket.create_server(("127.0.0.1", int(cli.environment["SEARCHFLOW_PREFECT_PORT"]))), cli.warm():
        for name in calls(STARTS, STARTS_PREFECT):
            if name == "dashboards":  # becomes the server, in the place of the shell
                continue
            done = run(cli, name)
            assert "Traceback" not in done.stderr, (name, done.stderr)
            if name == "up":  # looks at the ports first
                one_line(done, "SEARCHFLOW_PREFECT_PORT")
                continue
            with_prefect = " and Prefect" if NEEDS[name] == STARTS_PREFECT else ""
            said = "Valkey, PostgreSQL and Prefect" if with_prefect else "Valkey and PostgreSQL"
            assert f"starting {said} in {cli.home}; `searchflow down` stops them" in done.stderr, (name, done.stderr)
            assert {"valkey", "postgres"} <= set(process.recorded(cli.settings)), name
            if with_prefect:
                one_line(done, "SEARCHFLOW_PREFECT_PORT")
            assert cli.run("down").returncode == 0


def test_an_unknown_option_is_one_line(cli: CommandLine) -> None:
    with cli.warm():
        for name in NEEDS:
            if name.split()[0] not in ("sqlmesh", "prefect"):  # those get every word as it is
                one_line(cli.run(*CALLS[name], "--nonsense"), "--nonsense", "--help")


@pytest.mark.parametrize(
    ("content", "said"), [(b"A=1\n\xff\n", "not UTF-8"), (b"SEARCHFLOW_HOME='/tmp\n", "NAME=value")]
)
def test_a_broken_env_file_is_one_line(cli: CommandLine, tmp_path: Path, content: bytes, said: str) -> None:
    broken = tmp_path / "broken.env"
    broken.write_bytes(content)
    cli.environment["SEARCHFLOW_ENV_FILE"] = str(broken)
    with cli.warm():
        for name in NEEDS:
            if NEEDS[name] == OWN or name in ("dlq fixes", "bench --list"):  # read no settings
                continue
            one_line(run(cli, name), str(broken), said)
    assert not any(cli.home.iterdir())


def test_a_home_that_cannot_be_written_is_one_line(cli: CommandLine) -> None:
    cli.environment["SEARCHFLOW_HOME"] = "/proc/searchflow"
    with cli.warm():
        for name in [*calls(STARTS_PREFECT), "replay", "dashboards", "generate --to files", "generate --to stdout"]:
            one_line(run(cli, name), "/proc/searchflow", "cannot be written")


def test_a_path_with_a_quote_is_one_line(cli: CommandLine) -> None:
    cli.environment["SEARCHFLOW_HOME"] = str(cli.home / "o'brien")
    with cli.warm():
        for name in ("status", "up", "query", "ingest", "down"):
            one_line(run(cli, name), "SEARCHFLOW_HOME", "holds")


@pytest.fixture
def half(own_servers: Settings, tmp_path: Path) -> CommandLine:
    (tmp_path / "recorded.jsonl").write_text(EVENT)
    line = CommandLine(own_servers.home)
    line.environment |= MAIL | {"TEST_FOLDER": str(tmp_path)}
    return line


def test_without_the_stream_server_what_reads_the_warehouse_works(half: CommandLine) -> None:
    assert valkey.stop(half.settings)
    need_streams = {"ingest --accept-gap", "verify", "forget --dry-run", "email status", "email preview --user"}
    with half.warm():
        for name in calls(READS):
            if name == "sqlmesh":  # before the first plan it says so in its own words, and closes the shell's input
                continue
            done = run(half, name)
            assert "Traceback" not in done.stderr, (name, done.stderr)
            if name in need_streams:
                assert done.returncode == 2, (name, done.stderr)
            elif done.returncode:  # nothing is there yet: that is an answer, not a missing server
                assert name in ("dlq show", "explain user", "privacy export", "roles show"), (name, done.stderr)
                one_line(done, status=done.returncode)
                assert "stopped" not in done.stderr, name
            assert living(half.home) == {"postgres"}, name


def test_without_postgresql_each_command_says_so(half: CommandLine) -> None:
    assert postgres.stop(half.settings)
    with half.warm():
        for name in calls(READS):
            one_line(run(half, name), status=2)
        assert half.run("status").returncode == 1
    assert lifecycle.stopped(half.settings) == ["PostgreSQL"]


def connected(settings: Settings) -> None:
    """Wait until the command has opened the lake, and a moment more."""
    question = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
    with psycopg.connect(postgres.server_conninfo(settings), autocommit=True) as connection:
        while connection.execute(question, [f"{settings.postgres_prefix}catalog"]).fetchone() == (0,):
            time.sleep(0.1)
    time.sleep(3)


def computing(pid: int) -> None:
    """Wait until the query itself runs: it takes more CPU than all that comes before it."""
    process_of_command = psutil.Process(pid)
    before = process_of_command.cpu_times().user
    while process_of_command.cpu_times().user < before + 8:
        time.sleep(0.1)


def test_a_server_that_dies_under_a_command_is_one_line(own_servers: Settings) -> None:
    """Its error comes out of a library, and what is said is that the server is away."""
    line = CommandLine(own_servers.home)
    running = line.start("query", "SELECT count(*) FROM range(100000000000) AS t(i), raw.search_events")
    began = process.running(own_servers, postgres.NAME)
    assert began is not None
    connected(own_servers)
    psutil.Process(began.pid).kill()
    _, err = running.communicate(timeout=240)
    assert "Traceback" not in err
    assert running.returncode in (0, 2), err


def test_a_reader_that_has_enough_is_no_failure(own_servers: Settings) -> None:
    line = CommandLine(own_servers.home)
    for words in (
        ("query", "SELECT repeat('x', 100) AS text, i FROM range(100000) AS t(i)", "--json"),
        ("query", "SELECT repeat('x', 100) AS text, i FROM range(200) AS t(i)"),
        ("audit", "show", "--limit", "100"),
        ("--help",),
    ):
        with line.start(*words) as running:
            assert running.stdout is not None
            assert running.stderr is not None
            running.stdout.close()
            assert running.stderr.read() == ""
            assert running.wait(240) == 0, words


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("range(1000000000000) AS t(i)", id="many short tasks"),
        pytest.param("range(3000000) AS t(i), range(2000000)", id="one task of hours"),
    ],
)
def test_ctrl_c_ends_in_one_line(own_servers: Settings, source: str) -> None:
    line = CommandLine(own_servers.home)
    running = line.start("query", f"SELECT sum(i % 7) FROM {source}")
    try:
        connected(own_servers)
        computing(running.pid)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=240)
    finally:
        running.kill()  # one that goes on would take both cores from all other tests
    assert (running.returncode, err.count("\n")) == (130, 1), err
    assert "Traceback" not in err


def test_ctrl_c_while_libraries_are_loaded_ends_in_one_line(home: Path) -> None:
    code = (
        "import signal, sys, importlib.abc\n"
        "class Late(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'searchflow.cli.app': signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Late())\n"
        "from searchflow.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stderr) == (130, "searchflow: Stopped.\n")
