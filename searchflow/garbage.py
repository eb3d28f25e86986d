"""How often Python looks for unreachable objects.

Loading libraries and SQLMesh's syntax trees makes millions of small objects that stay. Python's collector, as it comes, walks
them again after every few hundred new ones: a quarter of the CPU of a first plan (16 s of it, then 11 to 12), a sixth
of the start of a command. What has no cycles, nearly everything here, is freed at once all the same.
"""

from __future__ import annotations

import gc

NEW_OBJECTS, YOUNG_ROUNDS, MIDDLE_ROUNDS = 200_000, 20, 100
"""New objects until the next look: some 20 MB at the most that wait for it."""


def collect_rarely() -> None:
    """For this process, from now on."""
    gc.set_threshold(NEW_OBJECTS, YOUNG_ROUNDS, MIDDLE_ROUNDS)
