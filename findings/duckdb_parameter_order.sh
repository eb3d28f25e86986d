#!/usr/bin/env bash
# DuckDB 1.5.5: three constructs number their `?` parameters in another order than the text.
#
# Expected: positional parameters take their values from left to right; a rewrite of the syntax into a function call
#   happens afterwards.
# Seen: in `? AT TIME ZONE ?`, `TRIM(BOTH ? FROM ?)` and `[x || ? FOR x IN list IF x = ?]` the first `?` gets the second
#   value: the parser numbers them in the order of the function that it writes. AT TIME ZONE fails on a time zone that is
#   no timestamp; the other two answer something else, without an error. `SUBSTRING(? FROM ? FOR ?)`,
#   `POSITION(? IN ?)` and CASE are right.
# Why it matters here: local hours and text normalisation bind values. We use named parameters ($name) in such statements.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.5
cd "$work"
cat > check.py <<'PYTHON'
import duckdb


def value(sql: str, *parameters: object) -> object:
    return duckdb.execute(f"SELECT {sql}", parameters).fetchone()[0]


trimmed = value("TRIM(BOTH ? FROM ?)", "x", "xax")
numbered = value("TRIM(BOTH $1 FROM $2)", "x", "xax")
print(f"TRIM(BOTH 'x' FROM 'xax'): with ? {trimmed!r}, with $1 and $2 {numbered!r}")
assert (trimmed, numbered) == ("", "a"), (trimmed, numbered)

listed = value("[x || ? FOR x IN ['p'] IF x = ?]", "!", "p")
numbered = value("[x || $1 FOR x IN ['p'] IF x = $2]", "!", "p")
print(f"[x || '!' FOR x IN ['p'] IF x = 'p']: with ? {listed}, with $1 and $2 {numbered}")
assert (listed, numbered) == ([], ["p!"]), (listed, numbered)

try:
    value("(?::TIMESTAMP) AT TIME ZONE (?::VARCHAR)", "2027-01-15 12:00", "UTC")
except duckdb.ConversionException as error:
    print("AT TIME ZONE, in the order of the text:", str(error).split(",")[0])
else:
    raise SystemExit("AT TIME ZONE takes its parameters from left to right now")
print("AT TIME ZONE, in the other order:", value("((?::TIMESTAMP) AT TIME ZONE (?::VARCHAR))::VARCHAR", "UTC", "2027-01-15 12:00"))
PYTHON
"$work/venv/bin/python" check.py
