"""Other versions of production's models that SQLMesh still keeps: those that were production before, and those built
beside it.

A day that late data changes is marked as missing in these versions too. Otherwise a version that is promoted again, or
one that was built some days before it is promoted, would bring back what the day held then: its commits count as seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlmesh.core.snapshot import Snapshot, SnapshotIdAndVersion

    from searchflow.transformation.project import Project


def beside(opened: Project, snapshots: Iterable[Snapshot]) -> dict[str, list[SnapshotIdAndVersion]]:
    """Return model -> its versions whose tables are not production's, one for each table.

    Expired versions are included: until their tables are deleted they may be promoted again.
    """
    current = {snapshot.name: snapshot.version for snapshot in snapshots}
    kept = opened.context.state_reader.get_snapshots_by_names(current, exclude_expired=False)
    tables = {(each.name, each.version): each for each in kept if each.version != current[each.name]}
    found: dict[str, list[SnapshotIdAndVersion]] = {}
    for (name, _), each in tables.items():
        found.setdefault(name, []).append(each)
    return found
