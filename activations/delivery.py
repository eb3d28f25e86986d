"""Delivery: batch after batch. While one is delivered the one before it is recorded in the ledger, and no third leaves.

Killed between any two steps and run again, it ends right: a batch that was delivered but not recorded is planned again,
and every destination takes a repeat without harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from activations.base import KEY, KIND, Batch, Delivery, Destination
from activations.declaration import Sync
from activations.ledger import Ledger
from activations.pace import SyncPace
from activations.retry import Retries

OnProgress = Callable[[int, int], None]
"""Callback that is told (done, total) rows after each recorded batch."""
OnRejected = Callable[[Batch, Delivery], None]
"""Callback that is told of a batch with rejected rows, before it is recorded."""


@dataclass
class Tally:
    """Counts of what was delivered and recorded so far. They survive an error in the middle."""

    sent: dict[str, int] = field(default_factory=dict)  # by kind
    rejected: int = 0
    repeated: int = 0
    batches: int = 0

    def add(self, batch: Batch, delivery: Delivery) -> None:
        """Count a recorded batch."""
        taken = batch.table
        if delivery.rejections:
            refused = pa.array([rejection.key for rejection in delivery.rejections], pa.string())
            taken = taken.filter(pc.invert(pc.is_in(taken[KEY], refused)))
        for counted in pc.value_counts(taken[KIND]).to_pylist():
            self.sent[counted["values"]] = self.sent.get(counted["values"], 0) + counted["counts"]
        self.rejected += len(batch) - taken.num_rows
        self.repeated += delivery.repeated
        self.batches += 1


@dataclass(frozen=True)
class _Recording:
    """A delivered batch on its way into the ledger."""

    future: Future[None]
    batch: Batch
    delivery: Delivery


@dataclass
class Courier:
    """A carrier of batches to one destination, which records what the destination acknowledged."""

    sync: Sync
    run_id: str
    destination: Destination
    ledger: Ledger
    retries: Retries
    on_rejected: OnRejected
    tally: Tally
    pace: SyncPace

    def deliver(self, batches: Iterable[Batch], total: int, on_progress: OnProgress | None) -> None:
        """Deliver all batches.

        Raises:
            DestinationUnavailable: the retries are used up; what was recorded stays recorded.
            ConfigurationError: the destination will not take anything until something is changed.
        """
        self.retries.call(self.sync.name, self.destination.prepare)
        waiting: list[_Recording] = []  # at most one
        done = 0

        def settle() -> None:
            nonlocal done
            while waiting:
                recording = waiting.pop()
                recording.future.result()
                self.tally.add(recording.batch, recording.delivery)
                done += len(recording.batch)
                if on_progress is not None:
                    on_progress(done, total)

        with ThreadPoolExecutor(1, thread_name_prefix="ledger") as recorder:
            try:
                for batch in batches:
                    self.pace.wait(len(batch))
                    delivery = self._attempt(batch)
                    settle()
                    if delivery.rejections:
                        self.on_rejected(batch, delivery)
                    future = recorder.submit(self.ledger.acknowledge, self.sync, self.run_id, batch, delivery)
                    waiting.append(_Recording(future, batch, delivery))
            finally:  # also when the next batch failed: what was delivered is recorded
                settle()

    def _attempt(self, batch: Batch) -> Delivery:
        return self.retries.call(self.sync.name, lambda: self.destination.deliver(batch))
