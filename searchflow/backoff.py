"""Waiting between attempts, longer and longer: the one place that says how long.

    for attempt in Backoff(attempts=12, first=0.05).tries():
        try:
            return work()
        except LostRace:
            continue
    raise GaveUp

The caller judges the errors, since only the caller knows which of them are temporary. `Backoff` counts and sleeps. Jitter
keeps processes that failed together from coming back together.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Backoff:
    """The number of attempts and the waits between them. Sleeping and chance are injected, so that a test takes no time."""

    attempts: int
    first: float
    """The most seconds to wait before the second attempt."""
    doubling: bool = False
    """True when each wait is twice the one before; otherwise the second is twice and the third three times the first."""
    longest: float = math.inf
    jitter: bool = False
    """True when each wait is a random part of its time, from nothing to the whole."""
    sleep: Callable[[float], None] = field(default=time.sleep, compare=False)
    chance: Callable[[], float] = field(default=random.random, compare=False)

    def wait(self, attempt: int) -> float:
        """Return the seconds to wait after this attempt; attempts are counted from 1.

        >>> [Backoff(5, 0.5, doubling=True, longest=3.0).wait(attempt) for attempt in (1, 2, 3, 4)]
        [0.5, 1.0, 2.0, 3.0]
        """
        # Beyond 2**60 a float would overflow before the longest wait cuts it.
        grown = 2.0 ** min(attempt - 1, 60) if self.doubling else float(attempt)
        whole = min(self.longest, self.first * grown)
        return self.chance() * whole if self.jitter else whole

    def tries(self) -> Iterator[int]:
        """Yield the number of each attempt, from 1, and sleep between two attempts."""
        for attempt in range(1, self.attempts + 1):
            yield attempt
            if attempt < self.attempts:
                self.sleep(self.wait(attempt))
