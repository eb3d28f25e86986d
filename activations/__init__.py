"""Activation: bring what the models say to CRM, e-mail outbox, recommendation cache and HTTP APIs, and keep it so.

Imports only `searchflow` and third-party packages. A sync is a file in `syncs/`, a destination one module in
`destinations/`. The way of a run: gate, plan (set-wise, in the warehouse), limits, delivery in batches, ledger.
"""

from activations.declaration import Sync
from activations.engine import not_made, plan_sync, run_sync, stale_suites
from activations.errors import DestinationUnavailable, SyncBlocked
from activations.gate import GateVerdict, latest_verdicts
from activations.planner import Plan, SampleRow
from activations.reconciliation import KeyDrift, ReconcileResult, reconcile
from activations.retention import Pruned, prune_log
from activations.run import SyncResult
from activations.sync_files import load_sync, load_syncs, sync_names
from activations.undo import UndoResult, undo_run

__all__ = [
    "DestinationUnavailable",
    "GateVerdict",
    "KeyDrift",
    "Plan",
    "Pruned",
    "ReconcileResult",
    "SampleRow",
    "Sync",
    "SyncBlocked",
    "SyncResult",
    "UndoResult",
    "latest_verdicts",
    "load_sync",
    "load_syncs",
    "not_made",
    "plan_sync",
    "prune_log",
    "reconcile",
    "run_sync",
    "stale_suites",
    "sync_names",
    "undo_run",
]
