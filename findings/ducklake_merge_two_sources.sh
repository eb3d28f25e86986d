#!/usr/bin/env bash
# DuckDB 1.5.5 and DuckLake: MERGE with two source rows for one target row takes one of them; which one depends on the
# table's kind and on the column's type.
#
# Expected: the SQL standard and PostgreSQL refuse it ("MERGE command cannot affect row a second time"), or at least the
#   same row wins everywhere.
# Seen: no error, and the count says that two rows were updated. A table of DuckDB keeps the first source row. A table of
#   DuckLake keeps the last one when the value is an INTEGER, and the first one when it is a VARCHAR.
# Why it matters here: a duplicate key in the source of an upsert goes unnoticed, and a test on plain DuckDB proves another
#   result than the lake has. Sources are made unique before a MERGE, and audits check keys.
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
seen = {}
for schema in ("memory.main", "lake.main"):
    for kind, rows in (("INTEGER", "(1, 10), (1, 20)"), ("VARCHAR", "(1, '10'), (1, '20')")):
        lake.execute(f"CREATE OR REPLACE TABLE {schema}.target (key INTEGER, value {kind})")
        lake.execute(f"INSERT INTO {schema}.target VALUES (1, 1)")
        counted = lake.execute(f"""
            MERGE INTO {schema}.target AS target USING (VALUES {rows}) AS source (key, value)
            ON target.key = source.key WHEN MATCHED THEN UPDATE SET value = source.value
        """).fetchone()[0]
        kept = int(lake.execute(f"SELECT value FROM {schema}.target").fetchone()[0])
        seen[schema, kind] = kept
        print(f"{schema} {kind}: updated {counted} rows, kept {kept}")
        assert counted == 2, counted
assert seen == {
    ("memory.main", "INTEGER"): 10,
    ("memory.main", "VARCHAR"): 10,
    ("lake.main", "INTEGER"): 20,
    ("lake.main", "VARCHAR"): 10,
}, seen
PYTHON
"$work/venv/bin/python" check.py
