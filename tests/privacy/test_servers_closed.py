"""The embedded servers and the home folder are closed to the network and to other accounts of the machine; no secret is
printed or left where others may read it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from searchflow import lifecycle
from searchflow.errors import StorageError
from searchflow.services import postgres, process, valkey
from searchflow.settings import Settings, load_settings
from tests.commands import CommandLine

pytestmark = pytest.mark.integration
SECRETS = ("hunter2-redis", "hunter2-postgres", "hunter2-key")
OTHER_ACCOUNT = 54_321
KNOCK = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


def sockets(settings: Settings) -> list[Path]:
    return [
        Path(valkey.url(settings).removeprefix("unix://")),
        postgres.socket_folder(settings) / ".s.PGSQL.5432",
    ]


def as_other(*command: str, **options: str) -> subprocess.CompletedProcess[str]:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("Only root can try it as another account.")
    who = ["setpriv", f"--reuid={OTHER_ACCOUNT}", f"--regid={OTHER_ACCOUNT}", "--clear-groups"]
    return subprocess.run([*who, *command], capture_output=True, text=True, cwd="/")


def test_no_server_listens_on_the_network(platform: Settings) -> None:
    for name in (valkey.NAME, postgres.NAME):
        record = process.running(platform, name)
        assert record is not None
        for each in (psutil.Process(record.pid), *psutil.Process(record.pid).children(recursive=True)):
            assert each.net_connections("inet") == [], name


def test_another_account_cannot_reach_the_sockets(platform: Settings) -> None:
    for path in sockets(platform):
        assert path.is_socket()
        refused = as_other("/usr/bin/env", "python3", "-c", KNOCK, str(path))
        assert "PermissionError" in refused.stderr
        assert (
            subprocess.run([sys.executable, "-c", KNOCK, str(path)]).returncode == 0
        )  # it is the account that matters


def test_postgres_refuses_another_account_even_through_an_open_folder(own_servers: Settings) -> None:
    folder = postgres.socket_folder(own_servers)
    with psycopg.connect(postgres.server_conninfo(own_servers), autocommit=True) as connection:
        rule = connection.execute("SELECT auth_method, options FROM pg_hba_file_rules").fetchall()
    assert rule == [("peer", ["map=searchflow"])]
    for path in (own_servers.home, folder):
        path.chmod(0o755)
    (folder / ".s.PGSQL.5432").chmod(0o777)
    psql = postgres._binaries() / "psql"
    refused = as_other(str(psql), "-h", str(folder), "-U", "postgres", "-c", "SELECT 1", "postgres")
    assert refused.returncode != 0
    assert "authentication failed" in refused.stderr or "Permission denied" in refused.stderr, refused.stderr


def test_another_account_cannot_read_the_home(platform: Settings) -> None:
    for room in process.ROOMS:
        assert (platform.home / room).stat().st_mode & 0o077 == 0, room
    assert as_other("ls", str(platform.home)).returncode != 0
    assert as_other("ls", str(platform.home / "lake")).returncode != 0


def test_a_socket_folder_that_another_account_made_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(f"/tmp/searchflow-test-{os.getpid()}")
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    try:
        with pytest.raises(StorageError, match="not a folder of this account alone"):
            process.make_private(folder / "vk")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def with_passwords(own_servers: Settings, home: Path) -> Iterator[CommandLine]:
    """A command line on servers that ask for passwords, as yours do."""
    with valkey.client(own_servers) as client:
        client.config_set("requirepass", SECRETS[0])
    with psycopg.connect(postgres.server_conninfo(own_servers), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE operator SUPERUSER LOGIN PASSWORD '{SECRETS[1]}'")
        rules = postgres.data_dir(own_servers) / "pg_hba.conf"
        rules.write_text("local all operator scram-sha-256\n" + rules.read_text())
        connection.execute("SELECT pg_reload_conf()")
    stream_socket = valkey.url(own_servers).removeprefix("unix://")
    yield CommandLine(
        home,
        {
            "SEARCHFLOW_REDIS_URL": f"unix://:{SECRETS[0]}@{stream_socket}",
            "SEARCHFLOW_POSTGRES_URL": f"postgresql://operator:{SECRETS[1]}@/postgres?host={postgres.socket_folder(own_servers)}",
            "SEARCHFLOW_POSTGRES_PREFIX": "closed_",
            "SEARCHFLOW_SECRET_KEY": SECRETS[2],
            "SEARCHFLOW_ENV_FILE": str(home / "env"),
        },
    )
    assert lifecycle.stop_all(own_servers)


def test_no_secret_is_printed_logged_or_left_for_others(with_passwords: CommandLine) -> None:
    said = []
    for arguments in (
        ("generate", "--days", "1", "--events", "200"),
        ("ingest", "--verbose"),
        ("query", "SELECT count(*) AS events FROM raw.search_events"),
        ("roles", "create"),
        ("status",),
        ("audit", "verify"),
        ("forget", "nobody-at-all"),
    ):
        done = with_passwords.run(*arguments)
        assert done.returncode in (0, 1), (arguments, done.stderr[-2000:])
        said.append(done.stdout + done.stderr)
    with_passwords.run("down")
    assert not [secret for secret in SECRETS if secret in "".join(said)]
    holders = {
        path.relative_to(with_passwords.home)
        for path in with_passwords.home.rglob("*")
        if path.is_file() and not path.is_symlink() and any(secret.encode() in path.read_bytes() for secret in SECRETS)
    }
    assert {path.name for path in holders} <= {"env", "pgpass", "sqlmesh.env"}
    assert all((with_passwords.home / path).stat().st_mode & 0o077 == 0 for path in holders)
    settings = load_settings(redis_url=f"redis://:{SECRETS[0]}@host/0", secret_key=SECRETS[2])
    assert not [secret for secret in SECRETS if secret in f"{settings!r} {settings} {settings.model_dump_json()}"]
