"""The environment variables through which other programs (SQLMesh, Prefect) find our servers, and the `.env` that holds
them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from searchflow import dotenv_file, spill
from searchflow.errors import StorageError
from searchflow.services import postgres
from searchflow.settings import Settings, default_home, env_file, load_settings

BEGIN = "# --- written by searchflow: where its servers are ---"
END = "# --- end ---"


def sqlmesh_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that `config.yaml` refers to."""
    state = conninfo_to_dict(postgres.plain_conninfo(settings, "sqlmesh"))
    password = ""
    if settings.postgres_url is not None:
        password = str(conninfo_to_dict(settings.postgres_url.get_secret_value()).get("password") or "")
    return {
        "SEARCHFLOW_CATALOG": f"postgres:{postgres.plain_conninfo(settings, 'catalog')}",
        # Not SEARCHFLOW_DATA_PATH: that is a setting, and a value written for this home would also be used for another.
        "SEARCHFLOW_LAKE_PATH": settings.data_path,
        "SEARCHFLOW_EXTENSIONS": str(settings.extensions_dir),
        "SEARCHFLOW_SPILL": str(settings.home / "spill"),
        "SEARCHFLOW_SPILL_MOST": spill.most(settings),
        "SEARCHFLOW_INLINE_ROWS": str(settings.inline_rows),
        "SEARCHFLOW_STATE_HOST": str(state.get("host") or "localhost"),
        "SEARCHFLOW_STATE_PORT": str(state.get("port") or 5432),
        "SEARCHFLOW_STATE_USER": str(state.get("user") or ""),
        "SEARCHFLOW_STATE_PASSWORD": password,
        "SEARCHFLOW_STATE_DATABASE": str(state["dbname"]),
    }


def write_env_file(settings: Settings) -> Path | None:
    """Write our block of `.env`, readable by its owner only, and keep every other line. Return None when there is none
    to write.

    SQLMesh and Prefect read `.env` by themselves, so `sqlmesh plan dev` and `prefect flow-run ls` work in the
    repository root without further set-up. The block names the home that later commands use by themselves. When only
    this command's environment names a home or server, `.env` stays as it is.

    Raises:
        StorageError: the file cannot be written.
    """
    path = env_file()
    if path is None or not _lasting(settings):
        return None
    before = dotenv_file.text(path)
    kept = _kept_lines(before.splitlines())
    text = "\n".join([*kept, *_block(settings, kept)]) + "\n"
    if text != before or not path.exists():
        try:
            _replace(path, text)
        except OSError as error:
            raise StorageError(
                f"{path} cannot be written ({error.strerror}). Make it writable, or set SEARCHFLOW_ENV_FILE to another "
                "file (to nothing: none is written)."
            ) from None
    return path


def _lasting(settings: Settings) -> bool:
    """Return True when a later command that is told nothing by the environment means the same home and the same
    servers.
    """
    return settings.home == default_home() and sqlmesh_environment(settings) == sqlmesh_environment(
        stored_settings(settings.home)
    )


def stored_settings(home: Path) -> Settings:
    """Return the settings of a home as `.env` says them, without those of the environment."""
    with without_variables("SEARCHFLOW_", keep=("SEARCHFLOW_ENV_FILE",)):
        return load_settings(home=home)


@contextmanager
def without_variables(prefix: str, *, keep: Iterable[str] = ()) -> Iterator[None]:
    """Take variables out of this process' environment inside the block."""
    taken = {name: value for name, value in os.environ.items() if name.startswith(prefix) and name not in keep}
    for name in taken:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(taken)


def _block(settings: Settings, kept: list[str]) -> list[str]:
    """Return the lines of our block."""
    ours = sqlmesh_environment(settings)
    if not any(line.lstrip().startswith(("SEARCHFLOW_HOME=", "export SEARCHFLOW_HOME=")) for line in kept):
        ours = {name: _from_home(settings, value) for name, value in ours.items()}
    ours |= {"PREFECT_API_URL": settings.prefect_api_url, "DO_NOT_TRACK": "1"}
    return [BEGIN, *(f"{name}={_quoted(value)}" for name, value in ours.items()), END]


def _from_home(settings: Settings, value: str) -> str:
    """Return a place in the home, in terms of SEARCHFLOW_HOME.

    SQLMesh lets `.env` win over the environment, and would otherwise work on the default home when a person names
    another one.
    """
    for place in (postgres.socket_folder(settings).parent, settings.home):
        if f"{place}/" in value:
            return value.replace(f"{place}/", f"${{SEARCHFLOW_HOME:-{place}}}/")
    return value


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(text)
    partial.replace(path)


def _kept_lines(lines: list[str]) -> list[str]:
    """Return the lines that a person wrote. Older versions wrote the home into our block: it stays, as a line of
    theirs.
    """
    if BEGIN not in lines or END not in lines:
        return lines
    begin, end = lines.index(BEGIN), lines.index(END)
    homes = [line for line in lines[begin:end] if line.startswith("SEARCHFLOW_HOME=")]
    return [*lines[:begin], *homes, *lines[end + 1 :]]
