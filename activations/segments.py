"""Sizes of a sync's groups (a CRM's segments) against their own history: a jump is looked at before it is sent.

After each run that sent something the ledger keeps how many rows each group had. A step is unusual when it is larger
than the limits' `share` of the group, larger than `rows`, and more than five times the group's usual step (the median
of its steps so far). Before there are four steps nothing is usual yet, and nothing unusual.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence

import duckdb

from activations import quarantine
from activations.declaration import Groups, Sync
from searchflow.errors import UsageError
from searchflow.quoting import quoted

STEPS_KNOWN, TIMES = 4, 5
MOST = 1000
"""The most values of a field that has groups."""
Sizes = Mapping[str, int]


def sizes(connection: duckdb.DuckDBPyConnection, sync: Sync) -> dict[str, int]:
    """Return group -> rows of the model now (without quarantine); empty when the sync declares no groups."""
    if sync.limits.groups is None:
        return {}
    column = next(field.source for field in sync.fields if field.name == sync.limits.groups.field)
    rows = connection.execute(
        f"SELECT coalesce({quoted(column)}::VARCHAR, '') AS value, count(*) FROM {quarantine.SENDABLE} "
        f"GROUP BY 1 ORDER BY 1 LIMIT {MOST + 1}"
    ).fetchall()
    if len(rows) > MOST:
        raise UsageError(
            f"{sync.name}: limits.groups.field is {sync.limits.groups.field}, which has more than {MOST:,} values. "
            "Choose a field with few."
        )
    return dict(rows)


def jumps(sync: Sync, now: Sizes, history: Sequence[Sizes]) -> list[str]:
    """Return what is unusual about the sizes; `history` is the newest first."""
    limits = sync.limits.groups
    if limits is None or len(history) <= STEPS_KNOWN:
        return []
    found = []
    for value in sorted(set(now).union(*history)):
        before, after = history[0].get(value, 0), now.get(value, 0)
        if abs(after - before) > _usual(limits, value, history):
            found.append(f"{limits.field} {_shown(value)} would go from {before:,} to {after:,}")
    return found


def _usual(limits: Groups, value: str, history: Sequence[Sizes]) -> float:
    """Return the largest step that no user has to look at."""
    known = [each.get(value, 0) for each in history]
    steps = [abs(new - old) for new, old in itertools.pairwise(known)]
    return max(limits.rows, limits.share * known[0], TIMES * statistics.median(steps))


def _shown(value: str) -> str:
    """Return a value for a message: short, and with nothing that a terminal would obey."""
    return repr(value[:40])
