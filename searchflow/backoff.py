"""Try again, later and later: the one place that says how long to wait between attempts.

    for attempt in Backoff(attempts=12, first=0.05).tries():
        try:
            return work()
        except LostRace:
            continue
    raise GaveUp

The caller judges the errors, since only it knows which of them pass; this counts and sleeps. Jitter keeps processes that
failed together from coming back together.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Backoff:
    """How often, and how long between. Sleeping and chance are injected, so that a test takes no time."""

    attempts: int
    first: float
    """Seconds before the second attempt, at the most."""
    doubling: bool = False
    """Each wait is twice the one before; else the second is twice, the third three times the first."""
    longest: float = math.inf
    jitter: bool = False
    """Wait anything from nothing to the whole time."""
    sleep: Callable[[float], None] = field(default=time.sleep, compare=False)
    chance: Callable[[], float] = field(default=random.random, compare=False)

    def wait(self, attempt: int) -> float:
        """Tell the seconds to wait after this attempt, counted from 1.

        >>> [Backoff(5, 0.5, doubling=True, longest=3.0).wait(attempt) for attempt in (1, 2, 3, 4)]
        [0.5, 1.0, 2.0, 3.0]
        """
        # Beyond 2**60 a float would overflow before the longest wait cuts it.
        grown = 2.0 ** min(attempt - 1, 60) if self.doubling else float(attempt)
        whole = min(self.longest, self.first * grown)
        return self.chance() * whole if self.jitter else whole

    def tries(self) -> Iterator[int]:
        """Count the attempts from 1, and sleep between two of them."""
        for attempt in range(1, self.attempts + 1):
            yield attempt
            if attempt < self.attempts:
                self.sleep(self.wait(attempt))
