#!/usr/bin/env bash
# msgspec 0.22.0: a time with more than six digits of a second is rounded, and the last half microsecond of a day is the
# next day.
#
# Expected: digits that a datetime cannot hold are cut, as datetime.fromisoformat does from Python 3.11 on, and as
#   PostgreSQL's and DuckDB's users see when they cut a nanosecond clock to microseconds.
# Seen: 2026-12-31T23:59:59.9999995Z is 2027-01-01T00:00:00Z. Two decoders in one program place one event in two years.
# Why it matters here: Go and Java write nanoseconds. An event that one path decodes with msgspec and another with
#   fromisoformat falls on two days, so a count by day differs between the books and the models. Fractions are cut to six
#   digits before anything decodes them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check msgspec==0.22.0
cd "$work"
cat > check.py <<'PYTHON'
import sys
from datetime import datetime

import msgspec

assert sys.version_info >= (3, 11), "datetime.fromisoformat reads such texts from Python 3.11 on"
text = "2026-12-31T23:59:59.9999995Z"
rounded, cut = msgspec.convert(text, datetime), datetime.fromisoformat(text)
print("msgspec.convert:       ", rounded.isoformat())
print("datetime.fromisoformat:", cut.isoformat())
assert rounded.isoformat() == "2027-01-01T00:00:00+00:00", "msgspec no longer rounds up"
assert cut.isoformat() == "2026-12-31T23:59:59.999999+00:00"
PYTHON
"$work/venv/bin/python" check.py
