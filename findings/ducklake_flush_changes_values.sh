#!/usr/bin/env bash
# DuckLake of DuckDB 1.5.5: moving inlined rows to Parquet changes values of two types.
#
# Expected: ducklake_flush_inlined_data() moves rows from the catalog into a file; what a query returns stays the same.
# Seen: a HUGEINT is written as a double, so 9,007,199,254,740,993 comes back as ...992, and DESCRIBE still says HUGEINT.
#   An INTERVAL keeps milliseconds only: 1.234567 seconds comes back as 1.234.
# Why it matters here: SUM over integers is a HUGEINT in DuckDB. A model that stores such a sum without a cast holds one
#   number until maintenance runs, and another one afterwards. Models cast sums to BIGINT or DECIMAL.
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
lake.execute("ATTACH 'ducklake:catalog.ducklake' AS lake (DATA_PATH 'files', DATA_INLINING_ROW_LIMIT 100)")
lake.execute("USE lake")
lake.execute("CREATE TABLE sums AS SELECT sum(n) AS total FROM (VALUES (9007199254740993::BIGINT)) AS t(n)")
lake.execute("CREATE TABLE waits AS SELECT INTERVAL '1.234567 seconds' AS waited")

read = "SELECT total::VARCHAR, typeof(total), waited::VARCHAR FROM sums, waits"
before = lake.execute(read).fetchone()
lake.execute("CALL ducklake_flush_inlined_data('lake')")
after = lake.execute(read).fetchone()
print("in the catalog:", before)
print("after the flush:", after)
assert before == ("9007199254740993", "HUGEINT", "00:00:01.234567"), before
assert after == ("9007199254740992", "HUGEINT", "00:00:01.234"), after
PYTHON
"$work/venv/bin/python" check.py
