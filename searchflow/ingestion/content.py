"""The bytes of a file from front to back, decompressed when it is a gzip file, even while another process still writes
it.
"""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO, Self

COMPRESSED_BYTES = 256 * 1024
GZIP_FORMAT = 31
"""zlib's `wbits` for a gzip header and trailer with the largest window."""


class Gunzip:
    """A gzip decompressor that reads front to back. Unlike `gzip.open`, it takes an end in the middle of a member as no
    error: reading goes on there when more was written.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._inflate = zlib.decompressobj(GZIP_FORMAT)
        self._input, self._begun, self._members = b"", False, 0
        self.broken = ""
        """Why nothing is read behind this place: what is here is not gzip, or its checksum is wrong."""
        self.cut = True
        """Whether the last line before the break may lack its end; False behind a whole member."""

    @property
    def complete(self) -> bool:
        """Return True between two members, where nothing is missing."""
        return self._inflate.eof or not self._begun

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes: none at what is the end for now, and none behind a break (`broken` says why)."""
        while not self.broken:
            if self._inflate.eof:  # a file may hold several members, and zeros between them
                self._input = self._inflate.unused_data
                self._inflate, self._begun = zlib.decompressobj(GZIP_FORMAT), False
                self._members += 1
            if not self._input:
                self._input = self._raw.read(COMPRESSED_BYTES)
            if not self._begun:
                self._input = self._input.lstrip(b"\0")
            if not self._input:
                return self._inflate.decompress(b"", size) if self._begun else b""
            first, self._begun = not self._begun, True
            data = self._inflated(size, first)
            if data:
                return data
        return b""

    def _inflated(self, size: int, first: bool) -> bytes:
        before = self._inflate.copy()
        try:
            data = self._inflate.decompress(self._input, size)
        except zlib.error as error:
            data = _up_to_the_break(before, self._input)
            self.cut = bool(data) or not first or not self._members
            self.broken = _reason(str(error), self._members)
            return data
        self._input = self._inflate.unconsumed_tail
        return data


def _up_to_the_break(inflate: zlib._Decompress, data: bytes) -> bytes:
    """Return what can be decompressed before the broken byte. A failed call returns nothing, not even what it had
    decompressed.
    """
    found = bytearray()
    with contextlib.suppress(zlib.error):
        for number in range(len(data)):
            found += inflate.decompress(data[number : number + 1])
    return bytes(found)


def _reason(said: str, members: int) -> str:
    if "incorrect header" in said:
        return "something else follows the gzip data" if members else "it is not gzip"
    if "incorrect data check" in said or "incorrect length check" in said:
        return "the checksum is wrong"
    return "the compressed data is damaged"


class Content:
    """An open file that is read front to back. It is a context manager."""

    def __init__(self, path: Path) -> None:
        self._raw = path.open("rb")
        self._gunzip = Gunzip(self._raw) if path.name.endswith(".gz") else None

    @property
    def complete(self) -> bool:
        """Return False when a gzip file breaks off here."""
        return self._gunzip is None or self._gunzip.complete

    @property
    def broken(self) -> str:
        """Return why nothing can be read behind this place, or an empty string when nothing is wrong."""
        return "" if self._gunzip is None else self._gunzip.broken

    @property
    def cut(self) -> bool:
        """Return True when the last line before a break may lack its end."""
        return self._gunzip is not None and self._gunzip.cut

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes of the content, or none at what is the end for now."""
        return self._raw.read(size) if self._gunzip is None else self._gunzip.read(size)

    def close(self) -> None:
        """Close the file that was opened."""
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
