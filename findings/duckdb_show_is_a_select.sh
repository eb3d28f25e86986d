#!/usr/bin/env bash
# DuckDB 1.5.5: SHOW, DESCRIBE and SUMMARIZE are SELECT statements to everything that asks, and PIVOT is two statements.
#
# Expected: extract_statements tells SHOW TABLES or SUMMARIZE by a type of its own (there are members such as EXPLAIN and
#   PRAGMA), and one PIVOT query is one statement that reads.
# Seen: SHOW TABLES, DESCRIBE and SUMMARIZE have StatementType.SELECT, and json_serialize_sql gives them as a SELECT_NODE
#   with a table reference of type SHOW_REF. PIVOT ... ON a without IN is a CREATE (of a type that lists the values) and a
#   SELECT, of which json_serialize_sql takes neither.
# Why it matters here: `searchflow query` takes one SELECT and writes the tables that it reads into the audit log. A check
#   of the statement's type alone lets SUMMARIZE pass without a table's name, and refuses a PIVOT that only reads.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.5
cd "$work"
cat > check.py <<'PYTHON'
import json

import duckdb

connection = duckdb.connect()
connection.execute("CREATE TABLE stays AS SELECT 'Lisbon' AS city, 3 AS nights")


def types_of(sql: str) -> list[str]:
    return [statement.type.name for statement in connection.extract_statements(sql)]


for sql in ("SHOW TABLES", "DESCRIBE stays", "SUMMARIZE stays"):
    answer = json.loads(connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()[0])
    source = answer["statements"][0]["node"]["from_table"]["type"]
    print(f"{sql}: {types_of(sql)}, reads from a {source}")
    assert types_of(sql) == ["SELECT"], types_of(sql)
    assert source == "SHOW_REF", source
pivot = "PIVOT stays ON city USING sum(nights)"
answer = json.loads(connection.execute("SELECT json_serialize_sql(?)", [pivot]).fetchone()[0])
print(f"{pivot}: {types_of(pivot)}, serialized: {answer.get('error_message')}")
assert types_of(pivot) == ["CREATE", "SELECT"], types_of(pivot)
assert answer["error"] is True
PYTHON
"$work/venv/bin/python" check.py
