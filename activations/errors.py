"""Errors of a sync, sorted by what happens next.

NegativeAnswer (searchflow.errors)   exit status 1
├── SyncBlocked                      it would remove too much, or the source is empty: stopped before sending
└── DeliveryFailed (searchflow.errors)
    └── DestinationUnavailable       still away after every retry; what was acknowledged is kept
ConfigurationError (searchflow.errors)  misconfigured: stops at once, names the file and field, or the variable

Retryable is raised by a destination and handled by `activations.retry`; it reaches no other code.
"""

from __future__ import annotations

from searchflow.errors import DeliveryFailed, NegativeAnswer


class Retryable(Exception):
    """The destination did not take the batch, but may take it later. `after` is the wait it asked for, in seconds."""

    def __init__(self, reason: str, *, after: float | None = None) -> None:
        self.reason, self.after = reason, after
        super().__init__(reason)


class SyncBlocked(NegativeAnswer):
    """The blast radius: nothing was sent, because what would happen looks like an accident."""

    def __init__(self, sync: str, reasons: list[str], *, approvable: bool = True) -> None:
        self.sync, self.reasons, self.approvable = sync, reasons, approvable
        todo = (
            f"Look with `searchflow activate {sync} --dry-run`; if it is meant, run it again with --approve."
            if approvable
            else "Correct the model, run `searchflow transform`, then try again."
        )
        super().__init__(f"{sync} stopped before sending: {'; '.join(reasons)}. {todo}")


class DestinationUnavailable(DeliveryFailed):
    """The destination did not answer, or asked us to wait, until the retries were used up."""

    def __init__(self, sync: str, reason: str, attempts: int) -> None:
        self.sync, self.reason, self.attempts = sync, reason, attempts
        super().__init__(
            f"{sync}: the destination did not take a batch after {attempts} attempts ({reason}). What it acknowledged "
            f"is recorded; run `searchflow activate {sync}` again when it is back."
        )
