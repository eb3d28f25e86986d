"""The servers that each command needs.

The table in docs/reference/commands.md is made from this module. A test runs each command on a stopped home and looks at the
processes that exist afterwards.
"""

from __future__ import annotations

STARTS = "starts the servers that are stopped, and says so"
STARTS_PREFECT = "starts the servers and Prefect where they are stopped, and says so"
READS = "asks on a terminal whether to start the servers; elsewhere says so in one line, exit status 2"
PREFECT = "says in one line that Prefect is down, exit status 2"
NOTHING = "needs no server and starts none"
OWN = "starts its own servers in a temporary folder, and stops them"

NEEDS: dict[str, str] = {
    "demo": STARTS_PREFECT,
    "up": STARTS_PREFECT,
    "down": NOTHING,
    "status": NOTHING,
    "dashboards": STARTS,
    "login": NOTHING,
    "generate": STARTS_PREFECT,
    "generate --to files": NOTHING,
    "generate --to stdout": NOTHING,
    "replay": STARTS,
    "replay --to files": NOTHING,
    "replay --to stdout": NOTHING,
    "ingest": STARTS_PREFECT,
    "ingest --accept-gap": READS,
    "transform": STARTS_PREFECT,
    "deploy": STARTS_PREFECT,
    "deploy --plan": STARTS,
    "validate": STARTS_PREFECT,
    "activate": STARTS_PREFECT,
    "reconcile": STARTS_PREFECT,
    "query": READS,
    "tables": READS,
    "lineage": READS,
    "verify": READS,
    "bench": OWN,
    "bench --list": NOTHING,
    "publish": STARTS,
    "schema": READS,
    "lateness": READS,
    "metrics": READS,
    "forget": STARTS,
    "forget --dry-run": READS,
    "sqlmesh": READS,
    "sqlmesh lint": NOTHING,
    "prefect": PREFECT,
    "held list": READS,
    "held release": STARTS,
    "dlq list": READS,
    "dlq show": READS,
    "dlq fixes": NOTHING,
    "dlq replay": STARTS,
    "dlq replay --dry-run": READS,
    "dlq discard": STARTS,
    "email deliver": STARTS_PREFECT,
    "email status": READS,
    "email resolve": STARTS,
    "email suppress": STARTS,
    "email unsuppress": STARTS,
    "email suppressed": READS,
    "email preview": NOTHING,
    "email preview --user": READS,
    "explain user": READS,
    "audit show": READS,
    "audit verify": READS,
    "roles create": STARTS,
    "roles show": READS,
    "privacy columns": READS,
    "privacy mask": STARTS,
    "privacy export": READS,
}
"""The command (without `searchflow`, with the option that changes it) -> what it does about servers that are stopped."""
