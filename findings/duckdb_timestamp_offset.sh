#!/usr/bin/env bash
# DuckDB 1.5.5: CAST(text AS TIMESTAMP) reads an offset and ignores it.
#
# Expected: either the offset is applied (10:00+05:00 is 05:00 UTC), or a type without a zone refuses a text that has one.
# Seen: 10:00+05:00 becomes 10:00. With TIMESTAMPTZ the same text is 05:00 UTC. TRY_CAST does not give NULL either.
# Why it matters here: producers send local times with an offset. A cast in a model would move a visit by hours and
#   into another day, and no check of types or NULLs would notice.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.5
cd "$work"
cat > check.py <<'PYTHON'
import duckdb

text = "2026-01-01T10:00:00+05:00"
plain, tried, zoned = duckdb.execute(
    """
    SELECT CAST($text AS TIMESTAMP)::VARCHAR, TRY_CAST($text AS TIMESTAMP)::VARCHAR,
           (CAST($text AS TIMESTAMPTZ) AT TIME ZONE 'UTC')::VARCHAR
    """,
    {"text": text},
).fetchone()
print(f"{text}: TIMESTAMP {plain} | TRY_CAST {tried} | TIMESTAMPTZ at UTC {zoned}")
assert plain == tried == "2026-01-01 10:00:00", (plain, tried)
assert zoned == "2026-01-01 05:00:00", zoned
PYTHON
"$work/venv/bin/python" check.py
