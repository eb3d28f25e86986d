"""Numbers and words as people read them. Pure; texts of events are escaped before they meet Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from searchflow import domain, markdown

CURRENCY = "CA$"
"""The reporting currency (config.yaml: reporting_currency)."""
MISSING = "–"
MONEY_FORMAT, CENTS_FORMAT, RATIO_FORMAT = f"{CURRENCY}%,.0f", f"{CURRENCY}%,.2f", "%.1f×"
"""The formats of table columns and chart tooltips, which take printf style."""
PERCENT_FORMAT = "%.1f%%"

LABELS = domain.LABELS | {
    "device_type": "Device",
    "crm_user_segments": "CRM user segments",
    "abandoned_search_emails": "Abandoned-search e-mails",
}
COUNTRIES = {
    "AE": "United Arab Emirates",
    "AR": "Argentina",
    "AT": "Austria",
    "AU": "Australia",
    "BE": "Belgium",
    "BR": "Brazil",
    "CA": "Canada",
    "CH": "Switzerland",
    "CL": "Chile",
    "CN": "China",
    "CO": "Colombia",
    "DE": "Germany",
    "DK": "Denmark",
    "ES": "Spain",
    "FI": "Finland",
    "FR": "France",
    "GB": "United Kingdom",
    "GR": "Greece",
    "HK": "Hong Kong",
    "IE": "Ireland",
    "IL": "Israel",
    "IN": "India",
    "IT": "Italy",
    "JP": "Japan",
    "KR": "South Korea",
    "MX": "Mexico",
    "NL": "Netherlands",
    "NO": "Norway",
    "NZ": "New Zealand",
    "PL": "Poland",
    "PT": "Portugal",
    "SE": "Sweden",
    "SG": "Singapore",
    "TR": "Türkiye",
    "US": "United States",
    "ZA": "South Africa",
}
UNKNOWN = "(unknown)"
"""The text of a null in filters and tables."""


def count(value: float | None) -> str:
    """Return a whole number with its thousands apart.

    >>> count(163051)
    '163,051'
    """
    return MISSING if value is None else f"{value:,.0f}"


def money(value: float | None) -> str:
    """Return a sum of money: big sums short, small ones to the cent.

    >>> money(1234567.8), money(45678.9), money(27.456)
    ('CA$1.23M', 'CA$45,679', 'CA$27.46')
    """
    if value is None:
        return MISSING
    sign, size = ("−" if value < 0 else ""), abs(value)
    if size >= 999_500:
        return f"{sign}{CURRENCY}{size / 1_000_000:,.2f}M"
    if size >= 999.995:
        return f"{sign}{CURRENCY}{size:,.0f}"
    return f"{sign}{CURRENCY}{size:,.2f}"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share of one as a percentage.

    >>> percent(0.04219, 2)
    '4.22%'
    """
    return MISSING if share is None else f"{share * 100:.{digits}f}%"


def ratio(value: float | None) -> str:
    """Return a ratio as how many times.

    >>> ratio(4.25)
    '4.2×'
    """
    return MISSING if value is None else f"{value:,.1f}×"


def change(now: float | None, before: float | None) -> float | None:
    """Return the relative change, or None when there is nothing to compare with."""
    if now is None or not before:
        return None
    return now / before - 1


def signed_percent(share: float | None) -> str:
    """Return a relative change with its sign.

    >>> signed_percent(-0.034)
    '−3.4%'
    """
    if share is None:
        return MISSING
    shown = f"{abs(share) * 100:,.1f}%"
    return shown if shown == "0.0%" else f"{'+' if share > 0 else '−'}{shown}"


def day(value: date) -> str:
    """Return a date without doubt about day and month: 9 Nov 2026."""
    return f"{value.day} {value:%b %Y}"


def days(first: date, last: date) -> str:
    """Return a range of dates, as short as it can be without doubt.

    >>> days(date(2026, 10, 26), date(2026, 11, 22))
    '26 Oct – 22 Nov 2026'
    """
    if first == last:
        return day(first)
    if first.year == last.year:
        return f"{first.day} {first:%b} – {day(last)}"
    return f"{day(first)} – {day(last)}"


def moment(value: datetime) -> str:
    """Return a moment of UTC, to the minute."""
    return f"{day(value)}, {value:%H:%M} UTC"


def age(value: timedelta, *, short: bool = False) -> str:
    """Return how long ago, in the largest unit that says enough; `short` where there is little room.

    >>> age(timedelta(seconds=59)), age(timedelta(minutes=3)), age(timedelta(hours=49)), age(timedelta(minutes=3), short=True)
    ('just now', '3 minutes ago', '2 days ago', '3 min ago')
    """
    seconds = max(0, int(value.total_seconds()))
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            number = seconds // size
            if short:
                return f"{number} {unit[:3] if unit == 'minute' else unit[0]} ago"
            return f"{number} {unit}{'s' if number > 1 else ''} ago"
    return "just now"


def seconds(value: float | None) -> str:
    """Return a duration in words.

    >>> seconds(0.42), seconds(75)
    ('0.4 s', '1 min 15 s')
    """
    if value is None:
        return MISSING
    return f"{value:.1f} s" if value < 60 else f"{int(value // 60)} min {int(value % 60)} s"


def plural(number: int, word: str, many: str | None = None) -> str:
    """Return a number with its noun.

    >>> plural(1, "check"), plural(0, "check")
    ('1 check', '0 checks')
    """
    return f"{number:,} {word if number == 1 else many or word + 's'}"


def label(value: str | None) -> str:
    """Return a value of an enumeration for people; a value that we do not know stays as it came.

    >>> label("paid_search"), label("web"), label(None), label("visionOS")
    ('Paid search', 'Web', '(unknown)', 'visionOS')
    """
    if value is None:
        return UNKNOWN
    if value in LABELS:
        return LABELS[value]
    return value.replace("_", " ").capitalize() if re.fullmatch(r"[a-z_]+", value) else value


def country(code: str | None) -> str:
    """Return a country's name; the code when we have no name for it."""
    return UNKNOWN if code is None else COUNTRIES.get(code, code)


def listed(values: Sequence[str], *, most: int = 3) -> str:
    """Return a few names, and how many more there are.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    if len(values) <= most:
        return ", ".join(values)
    return f"{', '.join(values[:most])} and {len(values) - most} more"


def plain(text: object, *, limit: int = 200) -> str:
    r"""Return text that came from outside, safe inside Markdown: no link, image, HTML or emphasis can come out of it.

    >>> plain("![x](http://evil)")
    '\\!\\[x\\]\\(http\\://evil\\)'
    """
    one_line = " ".join(str(text).split())
    shown = one_line if len(one_line) <= limit else one_line[: limit - 1] + "…"
    return markdown.escaped(shown)
