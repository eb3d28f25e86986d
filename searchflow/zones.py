"""The one place that opens a time zone: from the pinned package `tzdata`, never from the system's files.

Python's `zoneinfo` reads the system's files first. A machine that was not updated since a law changed is then silently an
hour wrong (British Columbia and Alberta changed theirs in 2026). DuckDB's ICU extension and Polars carry their own data,
which are as old as their release. Local hours and days are therefore computed in Python with the zones of this module, and
everything else is UTC.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """Return the names that can be opened, including links such as `US/Pacific`."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def find(name: str | None) -> ZoneInfo | None:
    """Return the time zone of a name that came from outside; None when there is no such zone."""
    return named(name) if name is not None and name in names() else None


@lru_cache(maxsize=1024)
def named(name: str) -> ZoneInfo:
    """Return the time zone of a known name.

    Raises:
        KeyError: there is no such zone.
    """
    if name not in names():
        raise KeyError(f"There is no time zone {name}. Use a name such as Europe/Lisbon.")
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as content:
        return ZoneInfo.from_file(content, key=name)
