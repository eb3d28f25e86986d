#!/usr/bin/env bash
# tzdata 2026.6, DuckDB 1.5.5 and Polars 2.1.0: three time zone databases in one process disagree by an hour.
#
# Expected: pinning tzdata pins local times, and DuckDB and Polars, which know the same zone names, agree with zoneinfo.
# Seen: British Columbia and Alberta stay on summer time from 2026 on. In January 2027 noon UTC is 05:00 in Vancouver for
#   zoneinfo with the pinned tzdata, and 04:00 for DuckDB (its own ICU data) and Polars (chrono-tz): both carry older data.
# Why it matters here: quiet hours of messages and local days are hours in a zone. They are computed at one place, with
#   zoneinfo on the pinned data, and never in SQL or a frame.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tzdata==2026.6 duckdb==1.5.5 polars==2.1.0 pytz
cd "$work"
cat > check.py <<'PYTHON'
import zoneinfo
from datetime import UTC, datetime

import duckdb
import polars

zoneinfo.reset_tzpath(())  # the wheel's data, not the system's
noon = datetime(2027, 1, 15, 12, tzinfo=UTC)
seen = {}
for zone in ("America/Vancouver", "America/Edmonton", "Europe/Lisbon"):
    in_sql = duckdb.execute(
        "SELECT strftime($noon::TIMESTAMPTZ AT TIME ZONE $zone, '%H:%M')", {"noon": noon, "zone": zone}
    ).fetchone()[0]
    in_frame = polars.Series([noon]).dt.convert_time_zone(zone).dt.strftime("%H:%M")[0]
    seen[zone] = (f"{noon.astimezone(zoneinfo.ZoneInfo(zone)):%H:%M}", in_sql, in_frame)
    print(zone, "zoneinfo {}, DuckDB {}, Polars {}".format(*seen[zone]))
assert seen == {
    "America/Vancouver": ("05:00", "04:00", "04:00"),
    "America/Edmonton": ("06:00", "05:00", "05:00"),
    "Europe/Lisbon": ("12:00", "12:00", "12:00"),
}, seen
PYTHON
"$work/venv/bin/python" check.py
