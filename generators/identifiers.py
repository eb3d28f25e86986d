"""UUIDs of version 7 for whole columns: the time is the event's, the random bits are the simulation's."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from generators.draws import Draws, Ints, Keys

_HEX = np.frombuffer("".join(f"{i >> 8:02x}{i & 255:02x}" for i in range(1 << 16)).encode(), dtype="S4")
_UUID = np.dtype(
    {
        "names": [f"w{i}" for i in range(8)],
        "formats": ["S4"] * 8,
        "offsets": [0, 4, 9, 14, 19, 24, 28, 32],
        "itemsize": 36,
    }
)


def uuid7(draws: Draws, keys: Keys, timestamps: Ints) -> pl.Series:
    """Return one UUID for each event, from its key and its time in milliseconds."""
    random = draws.bits("uuid", keys)
    more = draws.bits("uuid/more", keys)
    high = (timestamps.astype(np.uint64) << np.uint64(16)) | np.uint64(0x7000) | (more >> np.uint64(52))
    low = (random >> np.uint64(2)) | np.uint64(0x8000_0000_0000_0000)
    text = np.full((len(keys), 36), ord("-"), dtype=np.uint8)
    words = text.view(_UUID).ravel()
    for index in range(4):
        shift = np.uint64(48 - 16 * index)
        words[f"w{index}"] = _HEX[(high >> shift) & np.uint64(0xFFFF)]
        words[f"w{index + 4}"] = _HEX[(low >> shift) & np.uint64(0xFFFF)]
    return _strings(text)


def hex_name(keys: Keys) -> pl.Series:
    """Return sixteen hexadecimal digits for each key: names of sessions."""
    text = np.empty((len(keys), 4), dtype="S4")
    for index in range(4):
        text[:, index] = _HEX[(keys >> np.uint64(48 - 16 * index)) & np.uint64(0xFFFF)]
    return _strings(text.view(np.uint8))


def _strings(text: NDArray[np.uint8]) -> pl.Series:
    """Return one string for each row of ASCII bytes, without a Python object for each."""
    rows, width = text.shape
    ends = np.arange(rows + 1, dtype=np.int64) * width
    array = pa.LargeStringArray.from_buffers(rows, pa.py_buffer(ends), pa.py_buffer(text))
    return pl.Series(array, dtype=pl.String)
