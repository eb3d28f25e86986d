#!/usr/bin/env bash
# DuckLake of DuckDB 1.5.5: AT (TIMESTAMP => ...) reads a plain timestamp as UTC, whatever the session's time zone is.
#
# Expected: DuckDB converts a TIMESTAMP to TIMESTAMPTZ by the session's TimeZone, and snapshots are shown in that zone, so
#   the local time copied from snapshots() finds its snapshot.
# Seen: in a session at America/New_York, AT (TIMESTAMP => now()) finds the newest snapshot, and the same moment as a
#   plain local timestamp is taken for UTC, five hours (or four) before: "No snapshot found at timestamp".
# Why it matters here: a check that reads a table as it was at some moment reads another one, or nothing, on a machine
#   that does not run in UTC. We pin snapshots by version, and set TimeZone to UTC in every connection.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.5 duckdb-extensions==1.5.5 duckdb-extension-ducklake==1.5.5
cd "$work"
cat > check.py <<'PYTHON'
import importlib.util
from pathlib import Path

import duckdb

wheel = Path(importlib.util.find_spec("duckdb_extension_ducklake").origin).parent
lake = duckdb.connect()
lake.execute(f"LOAD '{next(wheel.rglob('*.duckdb_extension'))}'")
lake.execute("ATTACH 'ducklake:catalog.ducklake' AS lake (DATA_PATH 'files')")
lake.execute("USE lake")
lake.execute("CREATE TABLE visits AS SELECT 1 AS n")
lake.execute("SET TimeZone = 'America/New_York'")
print("as TIMESTAMPTZ:", lake.execute("FROM visits AT (TIMESTAMP => now())").fetchall())
cast = lake.execute("SELECT (now()::TIMESTAMP)::TIMESTAMPTZ = now()").fetchone()[0]
print("DuckDB's own cast keeps the moment:", cast)
assert cast
try:
    lake.execute("FROM visits AT (TIMESTAMP => now()::TIMESTAMP)").fetchall()
except duckdb.InvalidInputException as error:
    print("as TIMESTAMP:", str(error).splitlines()[0])
    assert "No snapshot found" in str(error)
else:
    raise SystemExit("the plain timestamp is read in the session's zone now")
PYTHON
"$work/venv/bin/python" check.py
