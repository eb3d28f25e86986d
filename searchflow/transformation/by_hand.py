"""SQLMesh's own command line on one home. It replaces days in our way, and reports a server that is down in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg2
from sqlmesh.core.config.connection import PostgresConnectionConfig
from sqlmesh.utils.errors import SQLMeshError

from searchflow import lifecycle, warehouse
from searchflow.services import process
from searchflow.settings import ROOT, Settings
from searchflow.transformation.project import environment_file, environment_kept, quiet


def run(settings: Settings, words: Sequence[str]) -> int:
    """Run one command in the repository's project, in this process. Return its exit status.

    Raises:
        ServiceError: the server went away meanwhile.
    """
    from sqlmesh.cli.main import cli

    from searchflow.transformation import lake_adapter

    lake_adapter.install()
    process.prepare_home(settings)
    warehouse.stage_extensions(settings.extensions_dir)
    arguments = ["--dotenv", str(environment_file(settings)), "--ignore-warnings", *words]
    with environment_kept(), quiet():
        os.chdir(ROOT)
        sys.argv = ["sqlmesh", *words]  # SQLMesh looks there for --help
        try:
            cli.main(args=arguments, prog_name="searchflow sqlmesh", standalone_mode=True)
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except psycopg2.OperationalError:
            lifecycle.require(settings, streams=False)
            raise
    return 0


def say_in_one_line() -> None:
    """Report a state database that does not answer in one line, for plain `sqlmesh`.

    The error becomes one of SQLMesh's own kind, which it prints in one line, and not a traceback. This does nothing in
    other programs.
    """
    if Path(sys.argv[0]).stem == "sqlmesh":
        PostgresConnectionConfig._connection_factory = property(lambda _: _connect)


def _connect(**given: Any) -> Any:
    try:
        return psycopg2.connect(**given)
    except psycopg2.OperationalError as error:
        reason = str(error).strip().splitlines()[0].rpartition("failed: ")[2]
        raise SQLMeshError(
            f"PostgreSQL at {given.get('host')} does not answer: {reason}. Run `searchflow up`; for a home that the "
            "environment names, run `searchflow sqlmesh` instead of `sqlmesh`."
        ) from None
