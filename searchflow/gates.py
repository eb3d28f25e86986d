"""The suites of checks that must pass before a sync: the `gate` of each file in `activations/syncs/`, read without the engine.

The quality report and the syncs read the same files, so neither keeps its own list. A gate names suites
(`marts.dim_users`) or whole groups of them (`raw`).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from searchflow import documents
from searchflow.settings import ROOT

SYNCS_DIR = ROOT / "activations" / "syncs"


class GatedSync(msgspec.Struct, frozen=True):
    """The part of a sync's file that names the sync, its title and its gate."""

    name: str
    gate: list[str]
    title: str = ""

    @property
    def shown(self) -> str:
        """The title of the sync, or its name when it has no title."""
        return self.title or self.name

    def waits_for(self, suite: str) -> bool:
        """Return True when the sync must not run while this suite fails."""
        return suite in self.gate or suite.partition(".")[0] in self.gate


@cache
def gated_syncs(folder: Path = SYNCS_DIR) -> tuple[GatedSync, ...]:
    """Read the sync files, in the order of their names. A process reads them once, since a report asks for each table.

    Raises:
        ConfigurationError: a file is wrong; names the file, the line and the field.
    """
    return tuple(documents.read(path, GatedSync)[0] for path in sorted(folder.glob("*.yaml")))


def syncs_behind(suite: str, folder: Path = SYNCS_DIR) -> tuple[str, ...]:
    """Return the names of the syncs that must not run while this suite fails."""
    return tuple(sync.name for sync in gated_syncs(folder) if sync.waits_for(suite))
