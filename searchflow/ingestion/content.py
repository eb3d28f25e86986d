"""The bytes of a file from front to back, decompressed when it is a gzip file, also while somebody still writes it."""

from __future__ import annotations

import zlib
from pathlib import Path
from types import TracebackType
from typing import IO, Self

COMPRESSED_BYTES = 256 * 1024
GZIP_FORMAT = 31
"""zlib's `wbits` for a gzip header and trailer with the largest window."""


class Gunzip:
    """Decompresses front to back. Unlike `gzip.open`, an end in the middle of a member is no error: reading goes on
    there when more was written."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._inflate = zlib.decompressobj(GZIP_FORMAT)
        self._input, self._begun = b"", False

    @property
    def complete(self) -> bool:
        """True between two members: nothing is missing."""
        return self._inflate.eof or not self._begun

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at what is the end for now.

        Raises:
            zlib.error: this is not gzip.
        """
        while True:
            if self._inflate.eof:  # a file may hold several members, and zeros between them
                self._input = self._inflate.unused_data
                self._inflate, self._begun = zlib.decompressobj(GZIP_FORMAT), False
            if not self._input:
                self._input = self._raw.read(COMPRESSED_BYTES)
            if not self._begun:
                self._input = self._input.lstrip(b"\0")
            if not self._input:
                return self._inflate.decompress(b"", size) if self._begun else b""
            self._begun = True
            data = self._inflate.decompress(self._input, size)
            self._input = self._inflate.unconsumed_tail
            if data:
                return data


class Content:
    """An open file; a context manager."""

    def __init__(self, path: Path) -> None:
        self._raw = path.open("rb")
        self._gunzip = Gunzip(self._raw) if path.name.endswith(".gz") else None

    @property
    def complete(self) -> bool:
        """False when a gzip file breaks off here."""
        return self._gunzip is None or self._gunzip.complete

    def read(self, size: int) -> bytes:
        """At most `size` bytes of the content; none at what is the end for now."""
        return self._raw.read(size) if self._gunzip is None else self._gunzip.read(size)

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
