"""Which home a command works on, and what `.env` says: never written for a home that only the environment names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from dotenv import load_dotenv

from searchflow.errors import ConfigurationError, StorageError
from searchflow.services import environment, sqlmesh_environment, write_env_file
from searchflow.settings import ROOT, load_settings


@pytest.fixture
def dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "env"
    monkeypatch.setenv("SEARCHFLOW_ENV_FILE", str(path))
    return path


def as_sqlmesh_reads(path: Path, monkeypatch: pytest.MonkeyPatch, **named: str) -> dict[str, str]:
    """What `config.yaml` is told: SQLMesh loads `.env` over the environment."""
    with monkeypatch.context() as patched:
        for name, value in named.items():
            patched.setenv(name, value)
        before = dict(os.environ)
        load_dotenv(path, override=True)
        after = {name: value for name, value in os.environ.items() if name.startswith("SEARCHFLOW_")}
        os.environ.clear()
        os.environ.update(before)
    return after


def test_a_home_that_the_environment_names_leaves_the_file_as_it_is(
    dotenv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dotenv.write_text(f"MINE=1\nSEARCHFLOW_HOME={tmp_path / 'usual'}\n")
    assert write_env_file(load_settings()) == dotenv
    before = dotenv.read_bytes()
    monkeypatch.setenv("SEARCHFLOW_HOME", str(tmp_path / "elsewhere"))
    assert load_settings().home == tmp_path / "elsewhere"
    assert write_env_file(load_settings()) is None
    assert dotenv.read_bytes() == before
    monkeypatch.delenv("SEARCHFLOW_HOME")
    assert load_settings().home == tmp_path / "usual"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SEARCHFLOW_POSTGRES_URL", "postgresql://me@elsewhere/postgres"), ("SEARCHFLOW_DATA_PATH", "/srv/elsewhere")],
)
def test_servers_that_the_environment_names_leave_the_file_as_it_is(
    dotenv: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    assert write_env_file(load_settings()) == dotenv
    before = dotenv.read_bytes()
    monkeypatch.setenv(variable, value)
    assert write_env_file(load_settings()) is None
    assert dotenv.read_bytes() == before


def test_the_default_home_named_by_the_environment_is_written(dotenv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that `searchflow up` starts are told their home."""
    monkeypatch.setenv("SEARCHFLOW_HOME", str(ROOT / ".searchflow"))
    assert write_env_file(load_settings()) == dotenv


def test_sqlmesh_works_on_the_default_home_and_on_one_that_the_environment_names(
    dotenv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings()
    write_env_file(settings)
    assert "SEARCHFLOW_HOME=" not in dotenv.read_text()
    ours = sqlmesh_environment(settings)
    assert {name: as_sqlmesh_reads(dotenv, monkeypatch)[name] for name in ours} == ours
    elsewhere = load_settings(home=tmp_path / "e")
    monkeypatch.setattr(environment, "env_file", lambda: dotenv)
    told = as_sqlmesh_reads(dotenv, monkeypatch, SEARCHFLOW_HOME=str(elsewhere.home))
    if str(elsewhere.home) in sqlmesh_environment(elsewhere)["SEARCHFLOW_STATE_HOST"]:  # else its path is too long
        assert {name: told[name] for name in ours} == sqlmesh_environment(elsewhere)
    assert told["SEARCHFLOW_STATE_HOST"] != ours["SEARCHFLOW_STATE_HOST"]


def test_a_home_that_an_older_version_wrote_into_our_block_stays(dotenv: Path, tmp_path: Path) -> None:
    old = [environment.BEGIN, "SEARCHFLOW_CATALOG='x'", f"SEARCHFLOW_HOME='{tmp_path}'", environment.END]
    dotenv.write_text("\n".join(["MINE=1", *old, "YOURS=2"]) + "\n")
    assert load_settings().home == tmp_path
    write_env_file(load_settings())
    write_env_file(load_settings())
    assert load_settings().home == tmp_path
    assert dotenv.read_text().splitlines()[:3] == ["MINE=1", f"SEARCHFLOW_HOME='{tmp_path}'", "YOURS=2"]


@pytest.mark.parametrize("path", ["/tmp/o'brien", '/tmp/a"b', "/tmp/a\\b", "/tmp/${HOME}", "/tmp/a\nb"])
def test_a_path_that_means_something_else_to_sql_or_the_file_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="SEARCHFLOW_HOME"):
        load_settings(home=path)
    with pytest.raises(ConfigurationError, match="SEARCHFLOW_DATA_PATH"):
        load_settings(SEARCHFLOW_DATA_PATH=path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"A=1\n\xff\xfe=2\n", "line 2 is not UTF-8"),
        ("A=ü\n".encode("utf-16"), "line 1 is not UTF-8"),
        (b"A=1\n\nB='open\n", "line 3 is not NAME=value"),
        (b"A=1\nwhat is this\n", "line 2 is not NAME=value"),
        (b"A=\0\n", "NUL"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(dotenv: Path, content: bytes, said: str) -> None:
    dotenv.write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert str(dotenv) in str(refused.value)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_in_the_place_of_the_file(dotenv: Path) -> None:
    dotenv.mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that root cannot write")
def test_a_file_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEARCHFLOW_ENV_FILE", "/proc/searchflow.env")
    with pytest.raises(StorageError, match="cannot be written"):
        write_env_file(load_settings())


def test_plain_sqlmesh_says_in_one_line_that_the_servers_are_down(home: Path) -> None:
    """In the repository, with a `.env` of a home whose servers are stopped."""
    path = home / "env"
    path.write_text(
        "".join(f"{name}='{value}'\n" for name, value in sqlmesh_environment(load_settings(home=home)).items())
    )
    arguments = ["sqlmesh", "--dotenv", str(path), "--ignore-warnings", "plan", "dev", "--skip-tests", "--no-prompts"]
    done = subprocess.run(
        arguments,
        executable=str(ROOT / ".venv" / "bin" / "sqlmesh"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "Run `searchflow up`" in done.stdout
