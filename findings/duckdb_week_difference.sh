#!/usr/bin/env bash
# DuckDB 1.5.5: date_diff counts boundaries for every part but the week.
#
# Expected: date_diff('week', ...) counts how often a week begins between two dates, as it counts midnights for 'day' and
#   first days for 'month'; date_trunc('week') says that a week begins on Monday.
# Seen: from Sunday to Monday is 0, although date_trunc puts them into two weeks; from 31 January to 1 February is one
#   month. Over 420 pairs of dates 'week' equals date_sub, the number of whole seven-day periods, every time, and the
#   number of Mondays 250 times.
# Why it matters here: cohorts and "weeks since the first visit" would mix two definitions in one query. We subtract
#   truncated dates and divide by seven.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.5
cd "$work"
cat > check.py <<'PYTHON'
import duckdb

pairs = duckdb.sql('''
    WITH pairs AS (
        SELECT DATE '2026-01-01' + first::INT AS a, DATE '2026-01-01' + first::INT + days::INT AS b
        FROM range(14) AS t(first), range(30) AS u(days)
    )
    SELECT count(*),
           count(*) FILTER (date_diff('week', a, b) = date_sub('week', a, b)),
           count(*) FILTER (date_diff('week', a, b) = (date_trunc('week', b)::DATE - date_trunc('week', a)::DATE) // 7)
    FROM pairs
''').fetchone()
print("pairs, equal to whole weeks, equal to Mondays passed:", pairs)
week, month = duckdb.sql('''
    SELECT date_diff('week', DATE '2026-01-04', DATE '2026-01-05'), date_diff('month', DATE '2026-01-31', DATE '2026-02-01')
''').fetchone()
print("Sunday to Monday in weeks:", week, "| 31 January to 1 February in months:", month)
assert pairs == (420, 420, 250), pairs
assert (week, month) == (0, 1), (week, month)
PYTHON
"$work/venv/bin/python" check.py
