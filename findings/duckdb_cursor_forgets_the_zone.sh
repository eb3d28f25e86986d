#!/usr/bin/env bash
# DuckDB 1.5.5: a cursor of a connection begins with other session settings than the connection, some of them its own.
#
# Expected: cursor() is a second handle of one session, as in the drivers of PostgreSQL and SQLite: what was SET on the
#   connection holds in it.
# Seen: it is a session of its own in the same database. Settings of the whole database (threads, default_null_order) hold;
#   TimeZone, explain_output, the schema of USE, variables and temporary tables do not, and nothing says which is which:
#   SET wrote both kinds. One comparison of a date with a moment is true on the connection and false on its cursor.
# Why it matters here: worker threads get cursors of one warehouse connection. Without a SET of their own they read
#   the machine's time zone, and judge a query's plan by half of it. `searchflow.warehouse.beside` sets zone and catalog again.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.5
cd "$work"
cat > check.py <<'PYTHON'
import duckdb

connection = duckdb.connect()
connection.execute("CREATE SCHEMA marts")
for statement in (
    "SET TimeZone = 'America/Vancouver'",
    "SET explain_output = 'all'",
    "SET default_null_order = 'NULLS_FIRST'",
    "SET VARIABLE chosen = 5",
    "USE marts",
):
    connection.execute(statement)
cursor = connection.cursor()
seen = """
    SELECT current_setting('TimeZone'), current_setting('explain_output'), getvariable('chosen'), current_schema(),
           current_setting('default_null_order')
"""
of_connection, of_cursor = connection.execute(seen).fetchone(), cursor.execute(seen).fetchone()
print("connection:", of_connection)
print("cursor:    ", of_cursor)
assert of_connection == ("America/Vancouver", "all", 5, "marts", "NULLS_FIRST"), of_connection
assert of_cursor[0] != "America/Vancouver", "a cursor has the zone of its connection now"
assert of_cursor[1:] == ("PHYSICAL_ONLY", None, "main", "NULLS_FIRST"), of_cursor

cursor.execute("SET TimeZone = 'UTC'")  # whatever the machine says
same = "SELECT DATE '2026-11-30' = TIMESTAMPTZ '2026-11-30 00:00:00-08'"
answers = connection.execute(same).fetchone()[0], cursor.execute(same).fetchone()[0]
print("midnight in Vancouver is the date's beginning:", answers)
assert answers == (True, False)
PYTHON
"$work/venv/bin/python" check.py
