"""One rule for a JSON document: a key that the contract names stands in it once.

Readers differ on repeated keys: msgspec and Python take the last, DuckDB the first. The contract would check one value
and the models would use the other. Repeated keys that the contract does not name are kept as they are.

Reading each document pair by pair would take four times as long as decoding it. So the bytes of many lines are looked
at together (`suspects`): the sign `":` ends a key, and the nine bytes before it tell which of the contract's keys it
is. Each key has a bit; the sum of a line's bits equals their union only if no key repeats. Only suspects are read
closely (`repeated`); a line that is not a suspect repeats no key.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchflow.events import EVENT_CLASSES
from searchflow.ingestion.shapes import contract, is_map

Words = NDArray[np.uint64]
QUOTE, COLON, BACKSLASH, SPACE = 0x22, 0x3A, 0x5C, 0x20
CHUNK_BYTES = 1024 * 1024
"""Bytes that are looked at together: more would not stay in the processor's caches."""
BITS = 58
"""Bits that are used of 64, so that the sum of a line's bits does not overflow."""
MIX = np.uint64(0x9E3779B97F4A7C15)
ONES, HIGH = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)


@functools.cache
def named_keys(event_type: str) -> frozenset[str]:
    """Return the keys that the contract names in an event of this type: `currency`, `geo.country`."""
    return frozenset(path for path in contract(event_type) if not is_map(path))


def suspects(lines: Sequence[bytes]) -> set[int]:
    """Return the lines that may repeat a key which the contract names. No other line repeats one."""
    found: set[int] = set()
    for first, chunk in _chunks(lines):
        found |= {first + index for index in _suspects(chunk)}
    return found


def _chunks(lines: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    first = size = 0
    for index, line in enumerate(lines):
        size += len(line)
        if size >= CHUNK_BYTES:
            yield first, lines[first : index + 1]
            first, size = index + 1, 0
    if first < len(lines):
        yield first, lines[first:]


def _suspects(lines: Sequence[bytes]) -> set[int]:
    text = b"\n" * 9 + b"\n".join(lines) + b"\n"
    content = np.frombuffer(text, dtype=np.uint8)
    colons = np.flatnonzero(content == COLON)
    before = content[colons - 1]
    ends = colons[before == QUOTE] - 1
    starts = 9 + np.concatenate(([0], np.cumsum(np.fromiter(map(len, lines), np.int64, len(lines)) + 1)))
    bounds = np.searchsorted(ends, starts)
    filled = np.flatnonzero(bounds[:-1] < bounds[1:])  # lines that have a key at all
    if not len(filled):
        return _lines_of(starts, colons)
    bits, known = _bits(_codes(text, content, ends))
    begin = bounds[:-1][filled]
    odd = np.add.reduceat(bits, begin) != np.bitwise_or.reduceat(bits, begin)
    found = set(filled[odd].tolist())
    escapes = np.flatnonzero(content == BACKSLASH)
    if len(escapes):  # a key with an escape is another in these bytes than in the document
        strange = filled[~np.logical_and.reduceat(known, begin)]
        found |= set(strange.tolist()) & _lines_of(starts, escapes)
    return found | _lines_of(starts, colons[before <= SPACE])  # white space between a key and its colon, perhaps


def _lines_of(starts: NDArray[np.int64], places: NDArray[np.int64]) -> set[int]:
    """Return the lines in which bytes stand."""
    return set(np.unique(np.searchsorted(starts, places, side="right") - 1).tolist())


def _codes(text: bytes, content: NDArray[np.uint8], ends: NDArray[np.int64]) -> Words:
    """Return one number for each key that ends at `ends`: its last eight characters, and the one before them."""
    words = np.ndarray((len(text) - 7,), dtype="<u8", buffer=text, strides=(1,))
    tail = words[ends - 8].astype(np.uint64)
    quotes = tail ^ (ONES * np.uint64(QUOTE))
    low = quotes & ~HIGH
    before = ~((low + ~HIGH) | quotes | ~HIGH)  # the highest bit of each byte that is a quote
    short = before != 0
    for shift in (8, 16, 32):  # and of all bytes below the last of them: they stand before the key
        before |= before >> np.uint64(shift)
    dropped = (before >> np.uint64(7)) * np.uint64(0xFF)
    ninth = np.where(short, 0, content[ends - 9]).astype(np.uint64)
    return (tail & ~dropped) ^ (ninth * MIX)


def _bits(codes: Words) -> tuple[Words, NDArray[np.bool_]]:
    """Return the bit of each key, 0 for one that the contract does not name, and whether it names the key."""
    table = _table()
    place = np.minimum(np.searchsorted(table, codes), len(table) - 1)
    known = table[place] == codes
    return np.where(known, np.uint64(1) << (place % BITS).astype(np.uint64), np.uint64(0)), known


@functools.cache
def _table() -> Words:
    """Return the codes of every key that the contract names, in order."""
    names = {path.rpartition(".")[2] for event_type in EVENT_CLASSES for path in named_keys(event_type)}
    text = b"\n" * 9 + b"".join(b'"%s":' % name.encode() for name in sorted(names))
    content = np.frombuffer(text, dtype=np.uint8)
    return np.unique(_codes(text, content, np.flatnonzero(content == COLON) - 1))


class _Pairs(list[tuple[str, Any]]):
    """An object as it stands in the text, pair by pair."""


# Numbers stay text: Python refuses to convert some that are valid JSON.
_DECODER = json.JSONDecoder(object_pairs_hook=_Pairs, parse_int=str, parse_float=str, parse_constant=str, strict=False)


def repeated(line: bytes, paths: Iterable[str]) -> str | None:
    """Return the first of the named keys (`currency`, `geo.country`) that the document repeats, or None.

    Raises:
        ValueError, RecursionError: it cannot be read as JSON.
    """
    document = _DECODER.decode(line.decode("utf-8"))
    return _repeated(document, "", set(paths)) if isinstance(document, _Pairs) else None


def _repeated(pairs: _Pairs, above: str, named: set[str]) -> str | None:
    seen: set[str] = set()
    for key, value in pairs:
        path = f"{above}{key}"
        if path in named and key in seen:
            return path
        seen.add(key)
        if not above and isinstance(value, _Pairs) and (found := _repeated(value, f"{path}.", named)):
            return found
    return None
