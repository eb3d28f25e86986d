#!/usr/bin/env bash
# DuckDB 1.5.5: the CSV reader takes 03/01/2026 for 3 January in one file and for 1 March in the next, by the other rows.
#
# Expected: an ambiguous date stays text, or the reader always takes the same order.
# Seen: a file of 1 to 12 March in American notation is read as the third day of January to December. With 13 March as one
#   more row, the same column is read as March. Nothing warns; the type is DATE both times.
# Why it matters here: ad networks deliver such files by the month. The first twelve days of spend would lie in
#   other months, until the thirteenth arrives. Feeds are read as text, and dates must be ISO or have a declared format.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.5
cd "$work"
cat > check.py <<'PYTHON'
from pathlib import Path

import duckdb


def months(last_day: int) -> list[int]:
    rows = [f"03/{day:02}/2026,1.00" for day in range(1, last_day + 1)]
    Path("spend.csv").write_text("\n".join(["day,cost", *rows, ""]))
    return [month for (month,) in duckdb.sql("SELECT DISTINCT month(day) FROM 'spend.csv' ORDER BY 1").fetchall()]


twelve, thirteen = months(12), months(13)
print("months of a file that ends on 03/12:", twelve)
print("months of a file that ends on 03/13:", thirteen)
assert twelve == list(range(1, 13)), twelve
assert thirteen == [3], thirteen
PYTHON
"$work/venv/bin/python" check.py
