"""The pace that a sync's `rate` allows: batches wait for their turn, so that a destination is not overrun."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from activations.declaration import Rate


@dataclass
class SyncPace:
    """A pace that spreads batches evenly. Clock and sleep are injected, so that a test takes no time."""

    rate: Rate | None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    free_at: float = 0.0  # when the next batch may leave

    def wait(self, rows: int) -> None:
        """Wait until a batch of so many rows may leave."""
        if self.rate is None:
            return
        now = self.clock()
        if self.free_at > now:
            self.sleep(self.free_at - now)
        self.free_at = max(now, self.free_at) + self._cost(self.rate, rows)

    @staticmethod
    def _cost(rate: Rate, rows: int) -> float:
        """Return how many seconds of the rate a batch uses up."""
        by_rows = rows / rate.rows if rate.rows else 0.0
        by_batches = 1 / rate.batches if rate.batches else 0.0
        return max(by_rows, by_batches) * rate.seconds
