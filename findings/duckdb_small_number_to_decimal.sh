#!/usr/bin/env bash
# DuckDB 1.5.5: a text in scientific notation that is far below a decimal's last digit becomes one unit of that digit.
#
# Expected: '9e-10' cast to DECIMAL(38, 4) is 0.0000, as '0.0000000009' is, and as the DOUBLE 9e-10 is.
# Seen: 0.0001. When the exponent is below what the scale can hold, the first digit alone decides: 5 to 9 round up to one
#   unit, 1 to 4 to zero, and two numbers of one size may differ: '9e-10' is 0.0001 and '15e-6' is 0.0000.
# Why it matters here: JSON writes small numbers so (Python's json does below 1e-4), and staging reads money from documents
#   as text into decimals: a price of almost nothing became a cent. Our macro sends such a text by way of a double.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.5
cd "$work"
cat > check.py <<'PYTHON'
from decimal import Decimal

import duckdb


def as_decimal(text: str) -> Decimal:
    return duckdb.execute("SELECT ?::DECIMAL(38, 4)", [text]).fetchone()[0]


seen = {text: as_decimal(text) for text in ("9e-10", "4e-10", "0.0000000009", "15e-6", "-5e-7")}
for text, number in seen.items():
    print(f"{text:>14} -> {number}")
assert seen["9e-10"] == Decimal("0.0001"), "scientific notation is rounded as any other text now"
assert seen["-5e-7"] == Decimal("-0.0001")
assert seen["4e-10"] == seen["0.0000000009"] == seen["15e-6"] == 0
by_double = duckdb.execute("SELECT '9e-10'::DOUBLE::DECIMAL(38, 4)").fetchone()[0]
print("by way of DOUBLE:", by_double)
assert by_double == 0
PYTHON
"$work/venv/bin/python" check.py
