"""Lines as one piece of memory: no line becomes a Python object on its way to a file or a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from generators.draws import Ints

# An empty separator and the newline, for binary_join_element_wise. Not pa.scalar: it imports pandas, a second and 60 MB.
_GLUE = pa.Array.from_buffers(
    pa.large_binary(), 2, [None, pa.py_buffer(np.array([0, 0, 1], dtype=np.int64)), pa.py_buffer(b"\n")]
)


@dataclass(frozen=True)
class Lines:
    """Lines one behind the other, each with its newline: line i is `text[ends[i]:ends[i + 1]]`."""

    text: memoryview
    ends: Ints

    @classmethod
    def of(cls, column: pl.Series) -> Lines:
        """Return the lines of a binary column."""
        array = column.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
        joined = pc.binary_join_element_wise(array, _GLUE[0], _GLUE[1])
        _, offsets, values = joined.buffers()
        if values is None or not len(joined):
            return cls(memoryview(b""), np.zeros(1, dtype=np.int64))
        ends = np.frombuffer(offsets, dtype=np.int64, count=len(joined) + 1, offset=8 * joined.offset)
        return cls(memoryview(values)[: ends[-1]], ends)

    def entries(self, size: int) -> Iterator[tuple[memoryview, int]]:
        """Yield up to `size` lines at a time, without the newline at the end: (text, how many)."""
        for first in range(0, len(self), size):
            last = min(first + size, len(self))
            yield self.text[int(self.ends[first]) : int(self.ends[last]) - 1], last - first

    def __len__(self) -> int:
        return len(self.ends) - 1
