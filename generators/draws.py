"""Random numbers that are a function of (seed, purpose, id) and of nothing else.

There is no generator whose state advances: a day made alone, within a year or by another process draws the same
numbers. The mixing is that of SplitMix64 (Steele, Lea, Flood 2014), on whole arrays.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_ORDINAL = np.uint64(0xD1342543DE82EF95)
_TO_UNIT = 1.0 / (1 << 53)


class Draws:
    """All randomness of one simulation."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._keys: dict[str, np.uint64] = {}

    def _key(self, purpose: str) -> np.uint64:
        key = self._keys.get(purpose)
        if key is None:
            digest = blake2b(f"{self.seed}/{purpose}".encode(), digest_size=8).digest()
            key = self._keys[purpose] = np.uint64(int.from_bytes(digest, "little"))
        return key

    def bits(self, purpose: str, ids: NDArray[Any]) -> Keys:
        """Return 64 random bits for each id."""
        mixed = ids.astype(np.uint64)  # a copy: everything below works in place
        mixed *= _GOLDEN
        mixed += self._key(purpose)
        mixed ^= mixed >> np.uint64(30)
        mixed *= _FIRST
        mixed ^= mixed >> np.uint64(27)
        mixed *= _SECOND
        mixed ^= mixed >> np.uint64(31)
        return mixed

    def child(self, purpose: str, parents: Keys, ordinal: NDArray[Any]) -> Keys:
        """Return the key of the `ordinal`-th child of each parent."""
        return self.bits(purpose, parents ^ (ordinal.astype(np.uint64) * _ORDINAL))

    def uniform(self, purpose: str, ids: NDArray[Any]) -> Floats:
        """Return numbers that are uniform in [0, 1)."""
        return np.asarray((self.bits(purpose, ids) >> np.uint64(11)) * _TO_UNIT, dtype=np.float64)

    def exponential(self, purpose: str, ids: NDArray[Any]) -> Floats:
        """Return exponential numbers with mean 1."""
        return -np.log1p(-self.uniform(purpose, ids))

    def normal(self, purpose: str, ids: NDArray[Any]) -> Floats:
        """Return standard normal numbers (Box and Muller)."""
        radius = np.sqrt(2.0 * self.exponential(purpose, ids))
        return np.asarray(radius * np.cos(2.0 * np.pi * self.uniform(purpose + "/angle", ids)))

    def below(self, purpose: str, ids: NDArray[Any], limit: NDArray[Any] | int) -> Ints:
        """Return whole numbers in 0 .. limit-1."""
        return np.floor(self.uniform(purpose, ids) * limit).astype(np.int64)

    def choose(self, purpose: str, ids: NDArray[Any], weights: NDArray[Any]) -> Ints:
        """Return an index into `weights`, in proportion to them."""
        return pick(self.uniform(purpose, ids), weights)


def pick(unit: Floats, weights: NDArray[Any]) -> Ints:
    """Return the index into `weights` at quantile `unit`."""
    cumulative = np.cumsum(weights, dtype=np.float64)
    found = np.searchsorted(cumulative / cumulative[-1], unit, side="right")
    return np.minimum(found, len(weights) - 1)


def pick_by_row(unit: Floats, rows: Ints, tables: NDArray[Any]) -> Ints:
    """Return an index for each number by weights of its own: row `rows[i]` of `tables` at quantile `unit[i]`."""
    cumulative = np.cumsum(tables, axis=1, dtype=np.float64)
    steps = cumulative / cumulative[:, -1:] + np.arange(len(tables))[:, np.newaxis]
    found = np.searchsorted(steps.ravel(), unit + rows, side="right") - rows * tables.shape[1]
    return np.minimum(found, tables.shape[1] - 1)


def power_law(unit: Floats, most: Ints, exponent: float, limit: int) -> Ints:
    """Return a number of 1 .. most at quantile `unit`, each as likely as number ** -exponent.

    No `most` is above `limit`; it does not follow from them, so that nothing depends on what is drawn together.
    """
    cumulative = np.cumsum(np.arange(1, limit + 1) ** -exponent)
    return np.minimum(np.searchsorted(cumulative, unit * cumulative[most - 1], side="right") + 1, most)
