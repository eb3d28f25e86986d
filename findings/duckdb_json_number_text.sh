#!/usr/bin/env bash
# DuckDB 1.5.5: `->>` gives the text of a JSON number after a trip through a double, and only if it has a point.
#
# Expected: `->>` returns the characters that stand in the document, so that CAST(... AS DECIMAL) keeps every digit.
# Seen: 1.10 becomes "1.1", 12345678901234567.89 becomes "12345678901234568.0", and 0.1000000000000000055 becomes "0.1";
#   a whole number of 30 digits keeps all of them.
# Why it matters here: money is read from the payload with `->>`. From about 16 digits on the cents of an amount are
#   gone before any cast, and a comparison of the text with the original says "changed" where nothing did.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.5
cd "$work"
cat > check.py <<'PYTHON'
import duckdb

seen = {}
for number in ("1.10", "12345678901234567.89", "0.1000000000000000055", "123456789012345678901234567890"):
    text = duckdb.execute("SELECT ?::JSON ->> '$.v'", [f"""{{"v": {number}}}"""]).fetchone()[0]
    seen[number] = text
    print(f"{number:>32} -> {text}")
assert seen == {
    "1.10": "1.1",
    "12345678901234567.89": "12345678901234568.0",
    "0.1000000000000000055": "0.1",
    "123456789012345678901234567890": "123456789012345678901234567890",
}, seen
PYTHON
"$work/venv/bin/python" check.py
