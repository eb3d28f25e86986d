"""The setting of how often Python looks for unreachable objects.

Loading libraries and SQLMesh's syntax trees makes millions of small objects that stay. With its defaults, Python's collector
walks them again after every few hundred new ones. That took a quarter of the CPU of a first plan (16 s, now 11 to 12) and a
sixth of the start of a command. Objects without cycles, nearly everything here, are still freed at once.
"""

from __future__ import annotations

import gc

NEW_OBJECTS, YOUNG_ROUNDS, MIDDLE_ROUNDS = 200_000, 20, 100
"""The thresholds of the three generations: the first is new objects until the next look, at most some 20 MB that wait."""


def collect_rarely() -> None:
    """Let this process look for unreachable objects rarely from now on."""
    gc.set_threshold(NEW_OBJECTS, YOUNG_ROUNDS, MIDDLE_ROUNDS)
