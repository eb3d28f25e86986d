#!/usr/bin/env bash
# DuckDB 1.5.5: the product of two decimals of 18 digits keeps 18 digits.
#
# Expected: a product needs the digits of both factors, so DECIMAL(18, 4) * DECIMAL(18, 8) has the type DECIMAL(36, 12),
#   as a factor of 19 digits suggests: with it the product has 37.
# Seen: the type is DECIMAL(18, 12). It has six digits before the point, so 1,000,000 times a rate of 1.5 is an
#   "Out of Range Error: Overflow in multiplication of DECIMAL(18)", although either factor alone is small.
# Why it matters here: money is DECIMAL(18, 4) and exchange rates are DECIMAL(18, 8). One booking of a million stopped
#   a model. Models cast one factor to DECIMAL(38, n) before they multiply.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.5
cd "$work"
cat > check.py <<'PYTHON'
import duckdb

types = duckdb.sql("""
    SELECT typeof(1::DECIMAL(18, 4) * 1::DECIMAL(18, 8)) AS both_18,
           typeof(1::DECIMAL(19, 4) * 1::DECIMAL(18, 8)) AS one_19
""").fetchone()
print("18 * 18 digits:", types[0], "| 19 * 18 digits:", types[1])
assert types == ("DECIMAL(18,12)", "DECIMAL(37,12)"), types

money = "SELECT {amount}::DECIMAL(18, 4) * 1.5::DECIMAL(18, 8)"
print("666,666 * 1.5:", duckdb.sql(money.format(amount=666_666)).fetchone()[0])
try:
    duckdb.sql(money.format(amount=1_000_000)).fetchone()
except duckdb.OutOfRangeException as error:
    print("1,000,000 * 1.5:", str(error).splitlines()[0])
else:
    raise SystemExit("the product of a million no longer overflows")

wide = duckdb.sql("SELECT 1000000::DECIMAL(18, 4)::DECIMAL(38, 4) * 1.5::DECIMAL(18, 8)").fetchone()[0]
print("with one factor cast to 38 digits:", wide)
assert wide == 1_500_000
PYTHON
"$work/venv/bin/python" check.py
