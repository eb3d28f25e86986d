"""The files that the files destination writes: tables as Parquet or CSV, replaced in one step, and the manifest beside
them."""

from __future__ import annotations

import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from activations.base import Batch, utc
from activations.columns import as_csv, from_csv
from activations.declaration import Field, Sync

FORMULA = r"^[=+\-@\t\r\n']"
"""Pattern of texts that a spreadsheet runs (OWASP: CSV injection), and of the apostrophe that makes them harmless."""


def replace(path: Path, content: bytes) -> None:
    """Put a file in its place in one step: a reader, and a crash, finds the old one or the new one."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def as_texts(table: pa.Table) -> pa.Table:
    """Return the table with every value as text."""
    return pa.table({name: pc.cast(table[name], pa.string()) for name in table.column_names})


class Form(ABC):
    """The format of rows in a file. Tables have the sync's fields, in their order."""

    suffix: str

    def __init__(self, sync: Sync) -> None:
        self.fields = sync.fields

    def table(self, batch: Batch) -> pa.Table:
        """Return the rows of a batch as a table."""
        return pa.table({each.name: self.column(batch.table[each.name], each) for each in self.fields})

    def empty(self) -> pa.Table:
        """Return a table without rows."""
        return self.fitted(pa.table({}))

    def fitted(self, table: pa.Table) -> pa.Table:
        """Return a table that was read, with today's fields: a new field is empty, and is sent because its rows
        differ."""
        columns = {}
        for field in self.fields:
            known = table[field.name] if field.name in table.column_names else pa.nulls(table.num_rows)
            columns[field.name] = pc.cast(known, self.kind(field))
        return pa.table(columns)

    def column(self, values: pa.ChunkedArray, field: Field) -> pa.ChunkedArray:
        """Return a batch's column as it stands in a table."""
        return pc.cast(values, self.kind(field))

    @abstractmethod
    def kind(self, field: Field) -> pa.DataType:
        """Return the type of a field's column."""

    @abstractmethod
    def content(self, table: pa.Table) -> bytes:
        """Return the content of the file."""

    @abstractmethod
    def read(self, path: Path) -> pa.Table:
        """Read a file back into a table."""


class Parquet(Form):
    """The Parquet format, with typed columns."""

    suffix = ".parquet"
    _kinds: Mapping[str, pa.DataType] = {
        "text": pa.string(), "boolean": pa.bool_(), "integer": pa.int32(), "bigint": pa.int64(),
        "double": pa.float64(), "date": pa.date32(), "timestamp": pa.timestamp("us"),
    }  # fmt: skip

    def kind(self, field: Field) -> pa.DataType:
        """Return the type as the sync declares it."""
        if field.type.startswith("decimal"):
            precision, scale = field.type.removeprefix("decimal(").rstrip(")").split(",")
            return pa.decimal128(int(precision), int(scale))
        return self._kinds[field.type]

    def content(self, table: pa.Table) -> bytes:
        """Return the file, compressed with zstd."""
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        return buffer.getvalue()

    def read(self, path: Path) -> pa.Table:
        """Read the whole file back."""
        return self.fitted(pq.read_table(path))


class Csv(Form):
    """The CSV format: texts, with a header."""

    suffix = ".csv"

    def kind(self, field: Field) -> pa.DataType:
        """Return the text type: CSV has no types."""
        return pa.string()

    def content(self, table: pa.Table) -> bytes:
        """Return the file, in which no text begins like a formula; numbers stay numbers."""
        harmless = {
            each.name: _guarded(table[each.name]) if each.type == "text" else table[each.name] for each in self.fields
        }
        return as_csv(pa.table(harmless), header=True)

    def read(self, path: Path) -> pa.Table:
        """Read the file back without the apostrophes that were put in front."""
        content = path.read_bytes()
        found = from_csv(io.BytesIO(content), None) if content else pa.table({})
        for index, name in enumerate(found.column_names):
            if any(each.name == name and each.type == "text" for each in self.fields):
                plain = pc.replace_substring_regex(found[name], "^'", "", max_replacements=1)
                found = found.set_column(index, name, plain)
        return self.fitted(found)


def _guarded(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    risky = pc.match_substring_regex(texts, FORMULA)
    return pc.if_else(risky, pc.binary_join_element_wise("'", texts, ""), texts)


FORMS: Mapping[str, type[Form]] = {"parquet": Parquet, "csv": Csv}


class _Entry(msgspec.Struct, frozen=True):
    name: str
    rows: int
    bytes: int
    sha256: str


class _ManifestDocument(msgspec.Struct, frozen=True):
    sync: str
    format: str
    written_at: str
    columns: list[str]
    rows: int
    files: list[_Entry]


class Manifest:
    """The manifest, which says which files count."""

    def __init__(self, folder: Path, sync: str, form: str) -> None:
        self._path, self._sync, self._form = folder / f"{sync}.manifest.json", sync, form

    def names(self) -> list[str]:
        """Return the names of the files, in the order in which they were written."""
        return [entry.name for entry in self._entries()]

    def _entries(self) -> list[_Entry]:
        if not self._path.exists():
            return []
        return msgspec.json.decode(self._path.read_bytes(), type=_ManifestDocument).files

    def add(self, name: str, content: bytes, table: pa.Table, batch: Batch, *, alone: bool) -> None:
        """Add a file that is in its place; `alone`: it replaces all other files."""
        entry = _Entry(name, table.num_rows, len(content), hashlib.sha256(content).hexdigest())
        # A later part is of a run that was killed before it was recorded: its rows come again in other parts.
        others = [] if alone else [each for each in self._entries() if each.name < name]
        files = [*others, entry]
        document = _ManifestDocument(
            self._sync,
            self._form,
            f"{utc(batch.now):%Y-%m-%dT%H:%M:%SZ}",
            table.column_names,
            sum(each.rows for each in files),
            files,
        )
        replace(self._path, msgspec.json.format(msgspec.json.encode(document)) + b"\n")
