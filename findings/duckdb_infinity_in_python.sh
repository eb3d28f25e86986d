#!/usr/bin/env bash
# DuckDB 1.5.5: 'infinity' becomes the last day of the year 9999 in Python.
#
# Expected: Python has no infinite date, so a fetch raises, or gives None or a text.
# Seen: fetchone() gives date(9999, 12, 31) for DATE 'infinity' and the last microsecond of 9999 for a TIMESTAMP. In SQL
#   the two are different values; written back, the infinite one has become a real day.
# Why it matters here: "valid until" columns and dates at the edge of the accepted range go through Python. Two keys
#   that SQL tells apart are equal after a round trip.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.5
cd "$work"
cat > check.py <<'PYTHON'
from datetime import date, datetime

import duckdb

day, moment, equal = duckdb.sql('''
    SELECT DATE 'infinity', TIMESTAMP 'infinity', DATE 'infinity' = DATE '9999-12-31'
''').fetchone()
print("in Python:", day, "and", moment, "| equal in SQL:", equal)
assert day == date(9999, 12, 31) and moment == datetime.max, (day, moment)
assert equal is False
back = duckdb.execute("SELECT isinf(?::DATE)", [day]).fetchone()[0]
print("still infinite after a round trip:", back)
assert back is False
PYTHON
"$work/venv/bin/python" check.py
