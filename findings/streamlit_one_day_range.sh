#!/usr/bin/env bash
# Streamlit 1.67.0: a date range of one day does not survive its own URL.
#
# Expected: bind="query-params" writes a range as two values and reads the same two values back.
# Seen: ?period=2026-03-01&period=2026-03-01 is read as a range that has one end, (2026-03-01,), as if the user were still
#   choosing; equal values of a date range are dropped. A slider with equal ends keeps both.
# Why it matters here: "yesterday" is the range that people bookmark. A page must treat a single value as a whole day.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check streamlit==1.67.0
cd "$work"
cat > check.py <<'PYTHON'
import logging

logging.disable(logging.CRITICAL)
from streamlit.testing.v1 import AppTest


def page() -> None:
    from datetime import date

    import streamlit as st

    period = st.date_input("Period", (date(2026, 1, 1), date(2026, 1, 31)), key="period", bind="query-params")
    price = st.slider("Price", 0, 10, (2, 5), key="price", bind="query-params")
    st.text(" ".join(day.isoformat() for day in period))
    st.text(" ".join(str(end) for end in price))


def shown(first: str, last: str, low: str, high: str) -> list[str]:
    test = AppTest.from_function(page)
    test.query_params["period"] = [first, last]
    test.query_params["price"] = [low, high]
    return [text.value for text in test.run().text]


two_days = shown("2026-03-01", "2026-03-02", "3", "4")
one_day = shown("2026-03-01", "2026-03-01", "3", "3")
print("two days:", two_days)
print("one day:", one_day)
assert two_days == ["2026-03-01 2026-03-02", "3 4"], two_days
assert one_day == ["2026-03-01", "3 3"], one_day
PYTHON
"$work/venv/bin/python" check.py
