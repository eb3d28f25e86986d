"""The files of an answer key, by name: the simulator writes them, `searchflow verify` reads them, an erasure changes them.

A run is a folder. Its rows stand in numbered parts of four kinds, its totals in single files, and the manifest seals them.
"""

from __future__ import annotations

from pathlib import Path

FORMAT = 2
"""Raised when a reader of the older form would misread the newer one."""
MANIFEST = "manifest.json"
"""The SHA-256 of each file. A folder without it is not sealed."""
ATTEMPT = "attempt"
"""How often the run was begun."""
JOURNAL = "journal.arrow"
"""The lines since the last part, of a run that nobody repeats after a kill."""
PROFILES, KPIS = "profiles.parquet", "kpis_daily.parquet"
LINES, VISITS, BOOKINGS, JOURNEYS = "lines", "visits", "bookings", "journeys"
"""Kinds of parts."""


def part_name(kind: str, number: int) -> str:
    """Name a part.

    >>> part_name(LINES, 3)
    'lines_00003.parquet'
    """
    return f"{kind}_{number:05d}.parquet"


def is_part(name: str, kind: str) -> bool:
    """True when a file of this name is a part of the kind."""
    return name.startswith(f"{kind}_") and name.endswith(".parquet")


def parts(folder: Path, kind: str) -> list[Path]:
    """Find the parts of a kind in a run's folder, in their order."""
    return sorted(folder.glob(f"{kind}_*.parquet"))
