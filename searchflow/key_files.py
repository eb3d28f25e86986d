"""The names of an answer key's files: the simulator writes them, `searchflow verify` reads them, an erasure changes them.

A run is a folder. Its rows are in numbered parts of four kinds, its totals are in single files, and the manifest seals them.
"""

from __future__ import annotations

from pathlib import Path

FORMAT = 2
"""The version of the files. Raise it when a reader of the older form would misread the newer one."""
MANIFEST = "manifest.json"
"""The file with the SHA-256 of each other file. A folder without it is not sealed."""
ATTEMPT = "attempt"
"""The file that counts how often the run was begun."""
JOURNAL = "journal.arrow"
"""The file with the lines since the last part, for a run that nothing repeats after a kill."""
PROFILES, KPIS = "profiles.parquet", "kpis_daily.parquet"
LINES, VISITS, BOOKINGS, JOURNEYS = "lines", "visits", "bookings", "journeys"
"""The four kinds of numbered parts."""


def part_name(kind: str, number: int) -> str:
    """Return the file name of a part.

    >>> part_name(LINES, 3)
    'lines_00003.parquet'
    """
    return f"{kind}_{number:05d}.parquet"


def is_part(name: str, kind: str) -> bool:
    """Return True when a file of this name is a part of the kind."""
    return name.startswith(f"{kind}_") and name.endswith(".parquet")


def parts(folder: Path, kind: str) -> list[Path]:
    """Return the parts of a kind in a run's folder, in the order of their numbers."""
    return sorted(folder.glob(f"{kind}_*.parquet"))
