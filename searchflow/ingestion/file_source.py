"""JSON lines files (also gzip) as a source. The position says how much of which content was read.

A file is known by its content: the digest of the part that was loaded. A copy or a renamed file is not loaded twice, a
file that grew is read from where the last load stopped, and a file that was written anew is read from its start.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import msgspec

from searchflow.errors import UsageError
from searchflow.ingestion.source import SourceBatch

EVENT_SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
READ_BYTES = 8 * 1024 * 1024


class FilePosition(msgspec.Struct):
    """How far a file was loaded: bytes and lines of its (decompressed) content, and the digest of those bytes."""

    offset: int = 0
    lines: int = 0
    digest: str = hashlib.sha256(b"").hexdigest()

    def text(self) -> str:
        """As stored."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def parse(cls, text: str) -> FilePosition:
        """From what is stored."""
        return msgspec.json.decode(text, type=cls)


@dataclass
class _Known:
    key: str
    position: FilePosition


def event_files(path: Path) -> list[Path]:
    """The event files at `path` (a file or a folder), by name.

    Raises:
        UsageError: there is nothing there, or it is no event file.
    """
    if path.is_file():
        if not path.name.endswith(EVENT_SUFFIXES):
            raise UsageError(f"{path} is no event file: name it *.jsonl or *.jsonl.gz (one JSON event a line).")
        return [path]
    if path.is_dir():
        return sorted(
            entry
            for entry in path.iterdir()
            if entry.is_file() and entry.name.endswith(EVENT_SUFFIXES) and not is_feed(entry)
        )
    raise UsageError(f"There is no file or folder {path}. Give the path of a *.jsonl file or of a folder of them.")


def is_feed(path: Path) -> bool:
    """Ad spend and user profiles lie beside the events and have a loader of their own."""
    return path.name.startswith(("ad_spend", "user_profiles"))


def open_content(path: Path) -> IO[bytes]:
    """The decompressed bytes of a file."""
    if path.name.endswith(".gz"):
        return cast(IO[bytes], gzip.open(path, "rb"))
    return path.open("rb")


class FileSource:
    """One file. `known` are the stored positions of all files: (key, position)."""

    shard = "file"
    event_type: str | None = None

    def __init__(self, path: Path, known: Iterable[tuple[str, str]], *, following: bool = False) -> None:
        self.path = path
        self.name = f"file:{path.name}"
        self._following = following
        found = self._find([_Known(key, FilePosition.parse(text)) for key, text in known])
        self.start = found.position if found else FilePosition()
        self.key = found.key if found else self._new_key()
        self._digest = None if found is None else self._prefix(found.position.offset)
        self._digest_offset = self.start.offset

    def _find(self, known: list[_Known]) -> _Known | None:
        """The stored position that is furthest into this very content: one pass over the file finds it."""
        best: _Known | None = None
        running, read = hashlib.sha256(), 0
        with self._open() as handle:
            for candidate in sorted(known, key=lambda entry: entry.position.offset):
                read += self._feed(running, handle, candidate.position.offset - read)
                if read < candidate.position.offset:
                    break
                if running.hexdigest() == candidate.position.digest:
                    best = candidate
        return best

    @staticmethod
    def _feed(running: hashlib._Hash, handle: IO[bytes], count: int) -> int:
        fed = 0
        while fed < count:
            chunk = handle.read(min(READ_BYTES, count - fed))
            if not chunk:
                break
            running.update(chunk)
            fed += len(chunk)
        return fed

    def _prefix(self, count: int) -> hashlib._Hash:
        running = hashlib.sha256()
        with self._open() as handle:
            self._feed(running, handle, count)
        return running

    def _new_key(self) -> str:
        with self._open() as handle:
            head = handle.read(64 * 1024)
        return "file:" + hashlib.sha256(str(self.path.resolve()).encode() + b"\0" + head).hexdigest()[:32]

    def _open(self) -> IO[bytes]:
        try:
            return open_content(self.path)
        except OSError as error:
            raise UsageError(
                f"{self.path} cannot be read ({error.strerror}). Check the path and its rights."
            ) from error

    def read(self, after: str | None, *, limit: int, wait_seconds: float = 0.0) -> SourceBatch | None:
        """See `Source`."""
        position = FilePosition.parse(after) if after else self.start
        try:
            with self._open() as handle:
                handle.seek(position.offset)
                lines, taken = self._take(handle, limit)
        except (OSError, EOFError) as error:
            raise UsageError(f"{self.path} cannot be read to its end ({error}). Write the file again.") from error
        if not taken:
            return None
        if self._digest is None or self._digest_offset != position.offset:
            self._digest = self._prefix(position.offset)
        self._digest.update(taken)
        self._digest_offset = position.offset + len(taken)
        moved = FilePosition(self._digest_offset, position.lines + len(lines), self._digest.hexdigest())
        kept = [(number, line) for number, line in enumerate(lines, position.lines + 1) if line.strip()]
        return SourceBatch([line for _, line in kept], [str(number) for number, _ in kept], moved.text())

    def _take(self, handle: IO[bytes], limit: int) -> tuple[list[bytes], bytes]:
        """Up to `limit` whole lines and the bytes they stand in. The last line of a file that is being written has no
        newline yet: while following it is left for later, otherwise the file is taken to be complete."""
        taken = bytearray()
        lines: list[bytes] = []
        while len(lines) < limit:
            chunk = handle.readlines(READ_BYTES)
            if not chunk:
                break
            chunk = chunk[: limit - len(lines)]
            if self._following and not chunk[-1].endswith(b"\n"):
                chunk = chunk[:-1]
                if not chunk:
                    break
            lines += chunk
            taken += b"".join(chunk)
            if len(lines) >= limit:
                break
        return [line.rstrip(b"\r\n") for line in lines], bytes(taken)

    def committed(self, position: str) -> None:
        """Files stay where they are."""
