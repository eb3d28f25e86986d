#!/usr/bin/env bash
# Polars 2.1.0 and DuckDB 1.5.5: the same exact decimals round to other cents.
#
# Expected: with exact decimals (no doubles) two columnar engines agree on half a cent.
# Seen: 0.125 and 12.345 as decimals are 0.12 and 12.34 in Polars (half to even) and 0.13 and 12.35 in DuckDB
#   (half away from zero). The rule holds for casts to a smaller scale, in both.
# Why it matters here: an amount that is prepared in Polars and checked in DuckDB differs by a cent now and then, which
#   an audit "to the cent" reports as a fault of the data.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.5 polars==2.1.0
cd "$work"
cat > check.py <<'PYTHON'
from decimal import Decimal

import duckdb
import polars

amounts = [Decimal("0.125"), Decimal("12.345"), Decimal("0.135")]
of_polars = polars.Series(amounts, dtype=polars.Decimal(10, 3)).cast(polars.Decimal(10, 2)).to_list()
of_duckdb = [
    duckdb.execute("SELECT CAST(?::DECIMAL(10, 3) AS DECIMAL(10, 2))", [amount]).fetchone()[0] for amount in amounts
]
for amount, one, other in zip(amounts, of_polars, of_duckdb):
    print(f"{amount}: Polars {one}, DuckDB {other}")
assert of_polars == [Decimal("0.12"), Decimal("12.34"), Decimal("0.14")], of_polars
assert of_duckdb == [Decimal("0.13"), Decimal("12.35"), Decimal("0.14")], of_duckdb
PYTHON
"$work/venv/bin/python" check.py
