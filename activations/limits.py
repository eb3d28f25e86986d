"""The blast radius: what looks like an accident stops before it is sent."""

from __future__ import annotations

from activations.declaration import Sync
from activations.errors import SyncBlocked
from activations.planner import Plan


def exceeded(sync: Sync, plan: Plan) -> list[str]:
    """Why somebody should look before this is sent; empty when it is ordinary."""
    reasons = []
    if plan.source_rows == 0 and plan.sent_rows and not sync.limits.empty:  # never sent, nothing there: a young company
        reasons.append(f"{sync.model} is empty")
    return reasons + too_many_removed(sync, plan.removed, plan.sent_rows)


def too_many_removed(sync: Sync, removed: int, held: int) -> list[str]:
    """The same for a number of removals out of what the destination holds."""
    limits = sync.limits
    if removed <= limits.always:
        return []
    if removed > limits.removed:
        return [f"it would remove {removed:,}, more than {limits.removed:,}"]
    if removed > limits.removed_share * held:
        return [f"it would remove {removed:,} of {held:,}, more than {limits.removed_share:.0%}"]
    return []


def require_safe(sync: Sync, plan: Plan, *, approve: bool) -> None:
    """Raise when a limit is exceeded and nobody approved. Repeated keys cannot be approved: which row would win?

    Raises:
        SyncBlocked: says which limit.
    """
    if plan.repeated_keys:
        repeated = f"{sync.model} holds {plan.repeated_keys:,} rows whose {sync.key} another row has too"
        raise SyncBlocked(sync.name, [repeated], approvable=False)
    reasons = exceeded(sync, plan)
    if reasons and not approve:
        raise SyncBlocked(sync.name, reasons)
