"""Check of cron lines, done when a sync file is read, long before a scheduler would refuse it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from croniter import croniter
from croniter.croniter import CroniterBadDateError, CroniterError

_FIELDS = 5
_DRAWN = re.compile(r"(?<![a-z])[hr](?![a-z])", re.IGNORECASE)
"""Jenkins' words for a moment that is drawn: each process would draw another one."""
_ANY_DAY = datetime(2024, 1, 1, tzinfo=UTC)


def cron_problem(line: str) -> str | None:
    """Return what is wrong with a cron line of five fields, or a word such as `@daily`; None: nothing.

    >>> cron_problem("*/15 6-20 * * MON-FRI")
    >>> cron_problem("@daily")
    >>> cron_problem("0 0 31 2 *")
    'names a day that never comes'
    """
    parts = line.split()
    if len(parts) != _FIELDS and not line.startswith("@"):
        return f"is a cron line of five fields (minute hour day month weekday, UTC) or @daily, not of {len(parts)}"
    if _DRAWN.search(line):
        return "draws its moment (H or R), and no two processes draw the same; write the minute or hour"
    try:
        croniter(line, _ANY_DAY).get_next(datetime)
    except CroniterBadDateError:
        return "names a day that never comes"
    except (CroniterError, ValueError, KeyError) as error:
        if line.startswith("@"):
            return f"is {line}, and the words are @hourly, @daily, @weekly, @monthly and @yearly"
        return f"is no cron line: {' '.join(str(error).split())}"
    return None
