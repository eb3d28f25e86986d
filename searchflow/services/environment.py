"""The variables through which other programs (SQLMesh, Prefect) find our servers, and the `.env` that holds them."""

from __future__ import annotations

import os
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from searchflow.services import postgres
from searchflow.settings import ROOT, Settings, env_file

BEGIN = "# --- written by searchflow: where its servers are ---"
END = "# --- end ---"


def sqlmesh_environment(settings: Settings) -> dict[str, str]:
    """What `config.yaml` refers to."""
    state = conninfo_to_dict(postgres.conninfo(settings, "sqlmesh"))
    password = ""
    if settings.postgres_url is not None:
        password = str(conninfo_to_dict(settings.postgres_url.get_secret_value()).get("password") or "")
    return {
        "SEARCHFLOW_CATALOG": f"postgres:{postgres.conninfo(settings, 'catalog')}",
        # Not SEARCHFLOW_DATA_PATH: that is a setting, and one written for this home would follow us to another.
        "SEARCHFLOW_LAKE_PATH": settings.data_path,
        "SEARCHFLOW_EXTENSIONS": str(settings.extensions_dir),
        "SEARCHFLOW_SPILL": str(settings.home / "spill"),
        "SEARCHFLOW_INLINE_ROWS": str(settings.inline_rows),
        "SEARCHFLOW_STATE_HOST": str(state.get("host") or "localhost"),
        "SEARCHFLOW_STATE_PORT": str(state.get("port") or 5432),
        "SEARCHFLOW_STATE_USER": str(state.get("user") or ""),
        "SEARCHFLOW_STATE_PASSWORD": password,
        "SEARCHFLOW_STATE_DATABASE": str(state["dbname"]),
    }


def write_env_file(settings: Settings) -> Path | None:
    """Write our block of `.env`, readable by its owner only; keep every other line. None when there is none to write.

    SQLMesh and Prefect read `.env` by themselves, so `sqlmesh plan dev` and `prefect flow-run ls` work in the
    repository root without further set-up.
    """
    path = env_file()
    if path is None:
        return None
    ours = sqlmesh_environment(settings)
    if settings.home != ROOT / ".searchflow":
        ours["SEARCHFLOW_HOME"] = str(settings.home)
    ours["PREFECT_API_URL"] = settings.prefect_api_url
    ours["DO_NOT_TRACK"] = "1"
    block = [BEGIN, *(f"{name}='{value}'" for name, value in ours.items()), END]
    kept = _other_lines(path.read_text().splitlines()) if path.exists() else []
    text = "\n".join([*kept, *block]) + "\n"
    if not path.exists() or path.read_text() != text:
        partial = path.with_name(path.name + ".partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as handle:
            handle.write(text)
        partial.replace(path)
    return path


def _other_lines(lines: list[str]) -> list[str]:
    if BEGIN not in lines or END not in lines:
        return lines
    return lines[: lines.index(BEGIN)] + lines[lines.index(END) + 1 :]
