"""The blast radius: what looks like an accident stops before it is sent."""

from __future__ import annotations

from activations.declaration import Sync
from activations.errors import SyncBlocked
from activations.planner import Plan


def exceeded(sync: Sync, plan: Plan) -> list[str]:
    """Return why a user should look before this is sent; empty when it is ordinary."""
    reasons = [plan.on_hold] if plan.on_hold else []
    if plan.source_rows == 0 and plan.sent_rows and not sync.limits.empty:  # never sent, nothing there: a young company
        reasons.append(f"{sync.model} is empty")
    reasons += too_many_removed(sync, plan.removed, plan.sent_rows)
    reasons += _too_many_changed(sync, plan.changed, plan.sent_rows)
    return reasons + list(plan.jumps)


def too_many_removed(sync: Sync, removed: int, held: int) -> list[str]:
    """Return why this many removals, out of what the destination holds, need a user's look; empty when they do not."""
    return _too_many(sync, "remove", removed, held, most=sync.limits.removed, share=sync.limits.removed_share)


def _too_many_changed(sync: Sync, changed: int, held: int) -> list[str]:
    return _too_many(sync, "change", changed, held, most=sync.limits.changed, share=sync.limits.changed_share)


def _too_many(sync: Sync, verb: str, count: int, held: int, *, most: int, share: float) -> list[str]:
    if count <= sync.limits.always:
        return []
    if count > most:
        return [f"it would {verb} {count:,}, more than {most:,}"]
    if count > share * held:
        return [f"it would {verb} {count:,} of {held:,}, more than {share:.0%}"]
    return []


def require_safe(sync: Sync, plan: Plan, *, approve: bool) -> list[str]:
    """Raise when a limit is exceeded and no user approved; return what was approved.

    Repeated keys cannot be approved: which row would win?

    Raises:
        SyncBlocked: says which limit.
    """
    if plan.repeated_keys:
        repeated = f"{sync.model} holds {plan.repeated_keys:,} rows whose {sync.key} another row has too"
        raise SyncBlocked(sync.name, [repeated], approvable=False)
    reasons = exceeded(sync, plan)
    if reasons and not approve:
        raise SyncBlocked(sync.name, reasons)
    return reasons
