"""JSON lines files (also gzip) as a source. The position says how much of which content was read.

A file is identified by its content: the digest of the part that was loaded. A copy or a renamed file is not loaded
twice. A file that grew is read from where the last load stopped. A file that was rewritten is read from its start.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import msgspec

from searchflow.errors import BrokenFileError, UsageError
from searchflow.events import MAX_EVENT_BYTES
from searchflow.ingestion.content import Content
from searchflow.ingestion.source import SourceBatch
from searchflow.lines import LongLine

EVENT_SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
READ_BYTES = 1024 * 1024
"""Bytes read at a time: their lines, however short, fit into memory many times over."""
LONG_BYTES = MAX_EVENT_BYTES + 16
"""The length in bytes beyond which a line is no event, also without the carriage returns at its end."""


class FilePosition(msgspec.Struct):
    """How far a file was loaded: bytes and lines of its (decompressed) content, and the digest of those bytes."""

    offset: int = 0
    lines: int = 0
    digest: str = hashlib.sha256(b"").hexdigest()

    def text(self) -> str:
        """Return the position as it is stored."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def parse(cls, text: str) -> FilePosition:
        """Read a position from its stored text."""
        return msgspec.json.decode(text, type=cls)


@dataclass
class _Known:
    key: str
    position: FilePosition


class _Long:
    """A line that is too large, as it is read, and the digest of the file's content up to its start."""

    def __init__(self, begun: bytes, content: hashlib._Hash) -> None:
        self.line, self.content = LongLine(), content
        self.add(begun)

    def add(self, piece: bytes) -> None:
        self.line.add(piece)
        self.content.update(piece)


def event_files(path: Path) -> list[Path]:
    """Return the event files at `path` (a file or a folder), ordered by name.

    Raises:
        UsageError: there is nothing there, or it is not an event file.
    """
    if path.is_file():
        if not path.name.endswith(EVENT_SUFFIXES):
            raise UsageError(f"{path} is not an event file: name it *.jsonl or *.jsonl.gz (one JSON event a line).")
        return [path]
    if path.is_dir():
        return sorted(
            entry
            for entry in path.iterdir()
            if entry.is_file() and entry.name.endswith(EVENT_SUFFIXES) and not is_feed(entry)
        )
    raise UsageError(f"There is no file or folder {path}. Give the path of a *.jsonl file or of a folder of them.")


def is_feed(path: Path) -> bool:
    """Return True for ad spend and user profiles: they lie beside the events and have a loader of their own."""
    return path.name.startswith(("ad_spend", "user_profiles"))


def open_content(path: Path) -> IO[bytes]:
    """Open a file and return its decompressed bytes."""
    if path.name.endswith(".gz"):
        return cast(IO[bytes], gzip.open(path, "rb"))
    return path.open("rb")


@dataclass(frozen=True)
class FileState:
    """What shows that a file has changed: which file it is, its bytes (as they lie on the disk), and when it was
    written.
    """

    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> FileState | None:
        """Return the state of a file now, or None when it is not there."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)

    def continues(self, before: FileState) -> bool:
        """Return True when the file may be read on: it is the same file and did not get smaller."""
        return self.inode == before.inode and self.size >= before.size


class FileSource:
    """One file as a source. `known` are the stored positions of all files: (key, position).

    With `following`, another process may be writing the file. Then a last line without a newline, or a gzip file
    without its end, waits for more. The handle stays open between reads, so a gzip file is decompressed once and not
    from its start each time.
    """

    shard = "file"
    event_type: str | None = None

    def __init__(self, path: Path, known: Iterable[tuple[str, str]], *, following: bool = False) -> None:
        self.path = path
        self.name = f"file:{path.name}"
        self._following = following
        self._content: Content | None = None
        self._rest, self._rest_at = (
            b"",
            0,
        )  # decompressed bytes behind the last line that was returned, and where they begin
        self._long: _Long | None = None  # instead of them, when they are more than an event may have
        self._digest, found = self._find([_Known(key, FilePosition.parse(text)) for key, text in known])
        self.start = found.position if found else FilePosition()
        self.key = found.key if found else self._new_key()

    def _find(self, known: list[_Known]) -> tuple[hashlib._Hash, _Known | None]:
        """Find the stored position that is furthest into this very content, and the digest up to there, in one pass."""
        best: _Known | None = None
        running, read = hashlib.sha256(), 0
        digest = running.copy()
        with self._open() as content:
            for candidate in sorted(known, key=lambda entry: entry.position.offset):
                read += self._feed(running, content, candidate.position.offset - read)
                if read < candidate.position.offset:
                    break
                if running.hexdigest() == candidate.position.digest:
                    best, digest = candidate, running.copy()
        return digest, best

    @staticmethod
    def _feed(running: hashlib._Hash, content: Content, count: int) -> int:
        fed = 0
        while fed < count and (chunk := content.read(min(READ_BYTES, count - fed))):
            running.update(chunk)
            fed += len(chunk)
        return fed

    def _new_key(self) -> str:
        with self._open() as content:
            head = content.read(64 * 1024)
        return "file:" + hashlib.sha256(str(self.path.resolve()).encode() + b"\0" + head).hexdigest()[:32]

    def _open(self) -> Content:
        try:
            return Content(self.path)
        except OSError as error:
            raise BrokenFileError(
                f"{self.path} cannot be read ({error.strerror}). Check the path and its rights."
            ) from error

    def read(self, after: str | None, *, limit: int, wait_seconds: float = 0.0) -> SourceBatch | None:
        """Return a batch of lines behind position `after`, as every `Source` does."""
        position = FilePosition.parse(after) if after else self.start
        batch = SourceBatch([], [], "")
        try:
            self._go_to(position)
            lines = self._take(batch, position.lines, limit)
        except (OSError, EOFError) as error:
            self.close()
            raise BrokenFileError(
                f"{self.path} cannot be read behind line {position.lines:,} ({error}). Write the file again: what stood "
                "before is stored."
            ) from error
        if not lines:
            return None
        batch.position = FilePosition(self._rest_at, position.lines + lines, self._digest.hexdigest()).text()
        return batch

    def _go_to(self, position: FilePosition) -> None:
        """Go to `position`. There is nothing to do when the last read ended there."""
        if self._content is not None and self._rest_at == position.offset:
            return
        self.close()
        self._content, self._digest = self._open(), hashlib.sha256()
        self._rest, self._long = b"", None
        self._rest_at = self._feed(self._digest, self._content, position.offset)
        if self._rest_at < position.offset:
            raise EOFError(f"{position.offset - self._rest_at:,} bytes that were loaded are no longer in it")

    def _take(self, batch: SourceBatch, before: int, limit: int) -> int:
        """Put about `limit` whole lines behind line `before` into the batch, or as many as it has room for.

        Return how many lines they are, blank ones included. When no process is writing the file, its last line may lack
        a newline.
        """
        assert self._content is not None
        taken = 0
        while taken < limit and not batch.full:
            if self._long is None:
                taken += self._take_whole(batch, before + taken, limit - taken)
                if taken >= limit:
                    break
            chunk = self._content.read(min(READ_BYTES, limit * 1024))
            if not chunk:
                return taken + self._end(batch, before + taken, taken)
            if self._long is not None:
                head, newline, chunk = chunk.partition(b"\n")
                self._long.add(head)
                if not newline:
                    continue
                taken += 1
                self._take_long(batch, before + taken, self._long, newline)
            self._rest += chunk
        return taken

    def _take_whole(self, batch: SourceBatch, before: int, most: int) -> int:
        """Take the lines that are in memory to their end, at most `most`. What is too long for an event begins a long
        line.
        """
        *whole, self._rest = self._rest.split(b"\n", most)
        for number, line in enumerate(whole, before + 1):
            self._add(batch, number, line)
        if whole:
            self._account(b"\n".join(whole) + b"\n")
        if len(self._rest) > LONG_BYTES and b"\n" not in self._rest:
            self._long, self._rest = _Long(self._rest, self._digest.copy()), b""
        return len(whole)

    def _take_long(self, batch: SourceBatch, number: int, long: _Long, newline: bytes) -> None:
        long.content.update(newline)
        batch.add(long.line, str(number))
        self._digest, self._rest_at, self._long = long.content, self._rest_at + long.line.length + len(newline), None

    def _add(self, batch: SourceBatch, number: int, line: bytes) -> None:
        kept = line.rstrip(b"\r")
        if len(line) > LONG_BYTES or len(kept) > MAX_EVENT_BYTES:
            batch.add(LongLine(line), str(number))
        elif kept.strip():
            batch.add(kept, str(number))

    def _account(self, taken: bytes) -> None:
        self._digest.update(taken)
        self._rest_at += len(taken)

    def _end(self, batch: SourceBatch, before: int, taken: int) -> int:
        """Finish at the file's end: what is behind the last newline is a line too, unless more may come. Return how
        many lines it took.

        Where the file breaks off, the `taken` lines before are given first; the next read raises.

        Raises:
            EOFError: the file is damaged here, or ends in the middle.
        """
        assert self._content is not None
        broken, whole = self._content.broken, self._content.complete or not self._content.cut
        if not broken and self._following:
            return 0
        left = bool(self._rest) or self._long is not None
        if not taken and (broken or not whole) and not (whole and left):
            raise EOFError(broken or "the compressed file ends before its end-of-stream marker")
        if not whole or not left:
            return 0
        if self._long is not None:
            self._take_long(batch, before + 1, self._long, b"")
            return 1
        self._add(batch, before + 1, self._rest)
        self._account(self._rest)
        self._rest = b""
        return 1

    def committed(self, position: str) -> None:
        """Do nothing: files stay where they are."""

    def close(self) -> None:
        """Close the handle; a later read opens it again."""
        if self._content is not None:
            self._content.close()
            self._content = None
