"""The servers that SearchFlow stands on: each one's start, check and stop. A server is embedded by default, and yours
when a URL is set.

This package knows nothing of what is kept in the servers: `searchflow.lifecycle` starts them in order and makes what
the platform needs there.
"""

from __future__ import annotations

from searchflow.services import postgres, valkey
from searchflow.services.environment import sqlmesh_environment, write_env_file

__all__ = ["postgres_dsn", "sqlmesh_environment", "valkey", "write_env_file"]

postgres_dsn = postgres.conninfo
