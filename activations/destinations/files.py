"""Files in a folder, for people and programs that read Parquet or CSV: one table, or one part for each batch.

    destination:
      type: files
      folder: crm_segments        # in <home>/exports, or an absolute path (a mounted share)
      format: csv                 # or parquet

In the mode append each batch is a part of its own, `<sync>-00000012.parquet`, and stays as it is. In the other modes
there is one file, `<sync>.parquet`, sorted by key and replaced as a whole: a reader has the rows before a batch or
those after it. Each batch writes the whole table again, so give such a sync large batches.

`<sync>.manifest.json` is replaced last. It says which files count, with rows, bytes and SHA-256: a part that it does not
name is of a run that was killed, and the next run writes it again under the same name.

In CSV every value is quoted and an empty cell without quotes is null. A text that a spreadsheet would run as a formula
(or that begins with an apostrophe) gets an apostrophe in front, which reading back takes off again.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Meta

from activations.base import ABSENT, KEY, Batch, Delivery, Destination, Operation, Rejection
from activations.declaration import Sync
from activations.destinations import _files
from activations.errors import Retryable
from searchflow.errors import ConfigurationError
from searchflow.settings import Settings

MODES = frozenset({"upsert", "insert", "update", "mirror", "append"})
KEEPS_FIELDS = False
GROUPS = False
DRIFT = frozenset({"ours"})
KEY_TYPES = ("text", "integer", "bigint", "date")
"""Types of keys whose texts are written alike by every program."""
PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EBUSY)


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of a sync file about the folder."""

    folder: Annotated[str, Meta(min_length=1, pattern=r"^(?!.*(^|/)\.\.(/|$))[^\0]+$")]
    format: Literal["parquet", "csv"] = "parquet"


def open_destination(sync: Sync, options: Options, settings: Settings) -> Files:
    """Return the destination; it touches no file yet."""
    return Files(sync, options, settings.home / "exports" / options.folder)


class Files(Destination):
    """Destination that keeps its table in memory between the batches of a run."""

    def __init__(self, sync: Sync, options: Options, folder: Path) -> None:
        self._sync, self._folder = sync, folder
        self._where = f"activations/syncs/{sync.name}.yaml, destination.folder"
        self._form = _files.FORMS[options.format](sync)
        self._manifest = _files.Manifest(folder, sync.name, options.format)
        self._table: pa.Table | None = None

    def prepare(self) -> None:
        """Create the folder if it is missing."""
        key = next(field for field in self._sync.fields if field.name == self._sync.key)
        if key.type not in KEY_TYPES:
            raise ConfigurationError(
                f"activations/syncs/{self._sync.name}.yaml, key",
                f"{key.name} is of type {key.type}, and rows in files are found by a text, a whole number or a date.",
                "Choose another key, or declare it as text.",
            )
        with self._sorted_failures():
            self._folder.mkdir(parents=True, exist_ok=True)

    def deliver(self, batch: Batch) -> Delivery:
        """Write a new part, or the whole table again."""
        with self._sorted_failures():
            if batch.operation is Operation.APPEND:
                name = f"{self._sync.name}-{batch.sequence:08}{self._form.suffix}"
                self._write(name, self._form.table(batch), batch)
                return Delivery()
            if self._table is None:
                self._table = self._read()
            table, delivery = self._applied(self._table, batch)
            if table is not self._table:
                self._write(self._name, table, batch)
                self._table = table
            return delivery

    def read(self, buckets: Sequence[int] | None = None) -> pa.Table:
        """Return all rows of the files that the manifest names, as texts."""
        with self._sorted_failures():
            return _files.as_texts(self._read())

    @property
    def _name(self) -> str:
        return f"{self._sync.name}{self._form.suffix}"

    def _read(self) -> pa.Table:
        tables = [self._form.read(self._folder / name) for name in self._manifest.names() if self._is_there(name)]
        return pa.concat_tables(tables) if tables else self._form.empty()

    def _is_there(self, name: str) -> bool:
        return (self._folder / name).exists()

    def _applied(self, table: pa.Table, batch: Batch) -> tuple[pa.Table, Delivery]:
        """Return the table after a batch; it is the same object when nothing in it changes."""
        key = self._sync.key
        there = pc.is_in(pc.cast(table[key], pa.string()), pa.array(batch.keys, pa.string()))
        if batch.operation is Operation.REMOVE:
            return (table.filter(pc.invert(there)) if pc.any(there).as_py() else table), Delivery()
        known = pc.is_in(batch.table[KEY], pc.cast(table.filter(there)[key], pa.string()).combine_chunks())
        rows = self._form.table(batch)
        if batch.operation is Operation.INSERT:
            new = rows.filter(pc.invert(known))
            return self._sorted(table, new), Delivery(repeated=len(batch) - new.num_rows)
        rejections: list[Rejection] = []
        if batch.operation is Operation.UPDATE:
            rejections = [Rejection(each, ABSENT) for each in batch.table[KEY].filter(pc.invert(known)).to_pylist()]
            rows = rows.filter(known)
        return self._sorted(table.filter(pc.invert(there)), rows), Delivery(rejections)

    def _sorted(self, table: pa.Table, rows: pa.Table) -> pa.Table:
        return pa.concat_tables([table, rows]).sort_by(self._sync.key)

    def _write(self, name: str, table: pa.Table, batch: Batch) -> None:
        content = self._form.content(table)
        _files.replace(self._folder / name, content)
        self._manifest.add(name, content, table, batch, alone=batch.operation is not Operation.APPEND)

    @contextlib.contextmanager
    def _sorted_failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            said = errno.errorcode.get(error.errno or 0, type(error).__name__)
            if error.errno in PASSING:
                raise Retryable(f"files: {said}") from error
            raise ConfigurationError(
                self._where, f"the folder cannot be used ({said}).", "Correct the folder or its rights."
            ) from None
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, msgspec.DecodeError):
            raise ConfigurationError(
                self._where,
                "a file in it is not as it was written.",
                f"Move it away, then run `searchflow reconcile {self._sync.name} --repair`.",
            ) from None
