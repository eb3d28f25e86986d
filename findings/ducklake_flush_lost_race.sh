#!/usr/bin/env bash
# DuckLake of DuckDB 1.5.5: a flush that loses a race against another commit brings deleted rows back.
#
# Expected: a commit that meets a newer snapshot either fails or has the same effect on top of it; a commit to another
#   table cannot change what a flush does.
# Seen: 400 rows in a file, 120 of them deleted (few enough that the deletion stays in the catalog). A flush inside a
#   transaction, beside which another connection adds a row to another table, is repeated by DuckLake on the newer
#   snapshot and forgets the deletions: 399 rows are there. Without the other commit 280 stay.
# Why it matters here: erased people came back, under nothing but normal load. `searchflow/lake_calls.py` sets
#   ducklake_max_retry_count to 0 around a flush and repeats the whole statement (decision 0018).
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


def rows_after_flush(name: str, beside: bool) -> int:
    lake.execute(f"ATTACH 'ducklake:{name}.ducklake' AS {name} (DATA_PATH '{name}', DATA_INLINING_ROW_LIMIT 200)")
    one, other = lake.cursor(), lake.cursor()
    for connection in (one, other):
        connection.execute(f"USE {name}")
    one.execute("CREATE TABLE kept (n BIGINT)")
    one.execute("CREATE TABLE busy (n BIGINT)")
    one.execute("INSERT INTO kept SELECT range FROM range(400)")
    one.execute("DELETE FROM kept WHERE n < 120")
    one.execute("BEGIN")
    one.execute(f"CALL ducklake_flush_inlined_data('{name}', schema_name => 'main', table_name => 'kept')")
    if beside:
        other.execute("INSERT INTO busy VALUES (1)")
    one.execute("COMMIT")
    return len(one.execute("SELECT n FROM kept").fetchall())


alone, lost = rows_after_flush("alone", beside=False), rows_after_flush("raced", beside=True)
print("rows after a flush alone:", alone)
print("rows after a flush that lost a race:", lost)
assert (alone, lost) == (280, 399), (alone, lost)
PYTHON
"$work/venv/bin/python" check.py
