"""Retries, later and later: exponential backoff with jitter, and a destination's own Retry-After."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from activations.errors import DestinationUnavailable, Retryable
from searchflow.backoff import Backoff

Answer = TypeVar("Answer")


@dataclass
class Retries:
    """A policy of how often to try and how long to wait. Sleeping and chance are injected, so that a test takes no
    time."""

    attempts: int = 5
    first_wait: float = 0.2
    longest_wait: float = 30.0
    patience: float = 60.0  # a longer Retry-After is not waited for: the next scheduled run is
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = field(default=random.random)
    retried: int = 0  # over the whole run

    def call(self, sync: str, action: Callable[[], Answer]) -> Answer:
        """Do `action` until it works.

        Raises:
            DestinationUnavailable: it raised `Retryable` every time.
        """
        for attempt in range(1, self.attempts + 1):
            try:
                return action()
            except Retryable as problem:
                wait = self._wait(attempt, problem.after)
                if attempt == self.attempts or wait > self.patience:
                    raise DestinationUnavailable(sync, problem.reason, attempt) from problem
            self.retried += 1
            self.sleep(wait)
        raise AssertionError("unreachable")

    def _wait(self, attempt: int, asked: float | None) -> float:
        # Full jitter, anything from nothing to the whole wait: clients that failed together do not come back together.
        backoff = Backoff(
            self.attempts, self.first_wait, doubling=True, longest=self.longest_wait, jitter=True, chance=self.chance
        )
        jittered = backoff.wait(attempt)
        return max(jittered, asked) if asked is not None else jittered
