"""The servers SearchFlow stands on: start, check, stop. Embedded by default, yours when a URL is set."""

from __future__ import annotations

from searchflow.services import postgres, valkey
from searchflow.services.environment import sqlmesh_environment, write_env_file
from searchflow.services.lifecycle import start, stop_all

__all__ = ["postgres_dsn", "sqlmesh_environment", "start", "stop_all", "valkey", "write_env_file"]

postgres_dsn = postgres.conninfo
