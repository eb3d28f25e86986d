#!/usr/bin/env bash
# DuckDB 1.5.5: 2.5 becomes 2 or 3, by the type that it has before the cast.
#
# Expected: one engine rounds half in one way. round() rounds half away from zero, so a cast does too.
# Seen: CAST(2.5 AS INTEGER) is 3 from a DECIMAL and from a text, and 2 from a DOUBLE, of which round() is 3. The
#   literal 2.5 is a DECIMAL, so the expression that one tries by hand is the one that hides it.
# Why it matters here: counts and whole cents. A column that becomes a DOUBLE on the way (an average, a JSON number) moves
#   results by one. Models round explicitly before they cast.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.5
cd "$work"
cat > check.py <<'PYTHON'
import duckdb

seen = duckdb.sql('''
    SELECT CAST(2.5 AS INTEGER) AS literal, CAST('2.5' AS INTEGER) AS text, CAST(2.5::DOUBLE AS INTEGER) AS double,
           round(2.5::DOUBLE)::INTEGER AS rounded, CAST(2.5::DOUBLE AS DECIMAL(5, 0))::INTEGER AS through_decimal
''')
print(seen)
assert seen.fetchone() == (3, 3, 2, 3, 3)
PYTHON
"$work/venv/bin/python" check.py
