"""Feed rows: reads the rows of a feed file (CSV or JSON lines), one after the other, in little memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from searchflow.errors import BrokenFileError
from searchflow.events import MAX_EVENT_BYTES, UNDECODABLE, Rejection
from searchflow.ingestion import repeats
from searchflow.ingestion.file_source import open_content
from searchflow.lines import LongLine

READ_BYTES = 1024 * 1024
MOST_BYTES_A_ROW = 16 * 1024 * 1024


def documents(file: Path, columns: Iterable[str]) -> Iterator[tuple[int, Raw, dict[str, Any]]]:
    """Yield (line, its bytes, the row as a document). What cannot be read is yielded as a document with the key NUL."""
    with open_content(file) as handle:
        yield from _json_rows(handle, frozenset(columns)) if ".jsonl" in file.name else _csv_rows(file, handle)


class Raw:
    """A row as it stands in its file. A row that is too large is known by its head and a digest."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._long: LongLine | None = None
        self.length = 0

    def add(self, piece: bytes) -> None:
        """Add the next bytes of the row."""
        self.length += len(piece)
        if self._long is None and self.length > MAX_EVENT_BYTES:
            self._long, self._pieces = LongLine(b"".join(self._pieces)), []
        if self._long is None:
            self._pieces.append(piece)
        else:
            self._long.add(piece)

    @property
    def too_large(self) -> bool:
        """Return True when not all of the row is kept."""
        return self._long is not None

    @property
    def head(self) -> bytes:
        """Return all of the row, or its beginning."""
        return b"".join(self._pieces) if self._long is None else self._long.head

    def rejection(self, event_type: str) -> Rejection:
        """Return why a row that is too large is refused."""
        assert self._long is not None
        return self._long.rejection(event_type)


def _json_rows(handle: IO[bytes], columns: frozenset[str]) -> Iterator[tuple[int, Raw, dict[str, Any]]]:
    number = 0
    while piece := handle.readline(READ_BYTES):
        number, raw = number + 1, Raw()
        raw.add(piece.removesuffix(b"\n"))
        while not piece.endswith(b"\n") and (piece := handle.readline(READ_BYTES)):
            raw.add(piece.removesuffix(b"\n"))
        if raw.too_large:
            yield number, raw, {"\0": "too_large"}
        elif raw.head.strip():
            yield number, raw, _json_document(raw.head, columns)


def _json_document(line: bytes, columns: frozenset[str]) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(line)
        if not isinstance(document, dict) or _repeats(line, document, columns):
            return {"\0": "invalid_json"}
    except UNDECODABLE:
        return {"\0": "invalid_json"}
    return document


def _repeats(line: bytes, document: dict[str, Any], columns: frozenset[str]) -> bool:
    """Return True when a column stands in the document twice: readers would find two values."""
    if line.count(b'":') == len(document) and not any(sign in line for sign in (b" :", b"\t:", b"\r:")):
        return False
    return repeats.repeated(line, columns) is not None


class _Lines:
    """The lines of a CSV file for its reader, and the bytes of the lines that the reader took for the current row."""

    def __init__(self, file: Path, handle: IO[bytes]) -> None:
        # Bytes that are not UTF-8 come as lone surrogates, so that they can be given back.
        self._text = io.TextIOWrapper(handle, encoding="utf-8", errors="surrogateescape", newline="")
        self._file, self.raw, self._given = file, Raw(), 0

    def __iter__(self) -> Iterator[str]:
        first = True
        while line := self._line():
            self._given += len(line)
            if self._given > MOST_BYTES_A_ROW:
                raise BrokenFileError(
                    f"A row of {self._file} has more than {MOST_BYTES_A_ROW // 1024**2} MiB: a quote that opens and never "
                    "closes, or the file is not CSV. Correct the file, then run the same again."
                )
            yield line.removeprefix("\ufeff") if first else line
            first = False

    def _line(self) -> str:
        """Return the next line. A line that is too large for any row is cut and loses its quotes: its fields are not
        looked at.
        """
        line = self._next()
        if len(line) < READ_BYTES or line.endswith(("\n", "\r")):
            return line
        while (piece := self._next()) and not piece.endswith(("\n", "\r")):
            pass
        return line[:1000].replace('"', "") + "\n"

    def _next(self) -> str:
        piece = self._text.readline(READ_BYTES)
        self.raw.add(piece.encode("utf-8", "surrogateescape"))
        return piece

    def let_go(self) -> None:
        """Let go of the file. The caller closes it."""
        self._text.detach()

    def row(self) -> Raw:
        """Return the bytes of the row that the reader has just given."""
        raw, self.raw, self._given = self.raw, Raw(), 0
        return raw


def _csv_rows(file: Path, handle: IO[bytes]) -> Iterator[tuple[int, Raw, dict[str, Any]]]:
    lines = _Lines(file, handle)
    try:
        yield from _rows_of(lines)
    finally:
        lines.let_go()


def _rows_of(lines: _Lines) -> Iterator[tuple[int, Raw, dict[str, Any]]]:
    csv.field_size_limit(max(csv.field_size_limit(), MOST_BYTES_A_ROW))  # a longer field would end the file
    reader = csv.reader(iter(lines))
    header = next(reader, [])
    lines.row()
    for fields in reader:
        raw, number = lines.row(), reader.line_num
        if not fields:
            continue
        if raw.too_large:
            yield number, raw, {"\0": "too_large"}
        elif not _is_utf8(raw.head):
            yield number, raw, {"\0": "invalid_utf8"}
        elif len(fields) != len(header):
            yield number, raw, {"\0": "invalid_value"}
        else:
            yield number, raw, {name: value for name, value in zip(header, fields, strict=True) if value != ""}


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
