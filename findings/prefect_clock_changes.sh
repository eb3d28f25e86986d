#!/usr/bin/env bash
# Prefect 3.8.8: schedules in a local time zone lose an hour, run early, and depend on when one asks.
#
# Expected: croniter, which Prefect builds on, runs an hourly cron every hour and a daily one at 02:30 not before that
#   hour; a daily interval anchored at 09:00 stays at one time of day.
# Seen, in Europe/Berlin 2026:
#   - `0 * * * *` on the night of 25 October: 00:00 UTC, then 02:00 UTC. The hour 01:00 UTC has no run.
#   - `30 2 * * *` on 29 March (02:30 does not exist): the run is at 01:30, an hour early.
#   - an interval of one day anchored on 1 March 09:00, asked on 27 March, is at 09:00 on 30 March; asked on 30 March it
#     is at 10:00 of that day. A scheduler that asks on both days can plan both.
# Why it matters here: hourly maintenance and daily runs of record would be skipped or made twice a year. All our
#   schedules are in UTC.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check prefect==3.8.8 'fastapi>=0.139,<0.151' 'sqlalchemy>=2.0.43,<2.1'
cd "$work"
cat > check.py <<'PYTHON'
import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule

BERLIN = ZoneInfo("Europe/Berlin")


async def runs(schedule, day: datetime, hours: int = 24) -> list[datetime]:
    return await schedule.get_dates(n=100, start=day, end=day + timedelta(hours=hours))


async def main() -> None:
    hourly = await runs(CronSchedule(cron="0 * * * *", timezone="Europe/Berlin"), datetime(2026, 10, 25, tzinfo=BERLIN), 5)
    in_utc = [f"{each.astimezone(UTC):%H:%M}" for each in hourly]
    print("hourly in autumn, UTC:", in_utc)
    assert "00:00" in in_utc and "01:00" not in in_utc and "02:00" in in_utc, in_utc

    [nightly] = await runs(CronSchedule(cron="30 2 * * *", timezone="Europe/Berlin"), datetime(2026, 3, 29, tzinfo=BERLIN), 20)
    print("02:30 daily in spring:", f"{nightly.astimezone(BERLIN):%H:%M %z}")
    assert f"{nightly.astimezone(BERLIN):%H:%M}" == "01:30", nightly

    daily = IntervalSchedule(
        interval=timedelta(days=1), anchor_date=datetime(2026, 3, 1, 9, tzinfo=BERLIN), timezone="Europe/Berlin"
    )
    asked = {}
    for day in (27, 30):
        planned = await runs(daily, datetime(2026, 3, day, tzinfo=BERLIN), 96)
        asked[day] = next(f"{each.astimezone(BERLIN):%H:%M}" for each in planned if each.astimezone(BERLIN).day == 30)
        print(f"daily interval, asked on {day} March, on 30 March:", asked[day])
    assert asked == {27: "09:00", 30: "10:00"}, asked


asyncio.run(main())
PYTHON
"$work/venv/bin/python" check.py
