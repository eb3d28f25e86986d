"""The contract between the engine and a destination: a batch goes in, what was rejected and why comes out.

A destination is one module in `activations/destinations/`, named like the `type` in a sync file. It holds, in
this order:

- `Options`: a msgspec struct with what a sync file may say under `destination` (besides `type`);
- `MODES`: the modes it can do; `KEEPS_FIELDS`: can it write a row and leave one of its fields as it is (a null that is
  kept); `GROUPS`: can it take grouped syncs (then a batch has `NAMES` and `VALUES`); `DRIFT`: which answers to foreign
  edits it can follow (`ours`, and with `Batch.keep` also `theirs`, `report`);
- `open_destination(sync, options, settings)`, which returns a `Destination`.

Failures are sorted by what happens next: `Retryable` (try again), a `Rejection` (this row, with a reason that holds no
personal data), `ConfigurationError` (stop at once). `activations.testing` checks all of this on a real destination.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

import pyarrow as pa

# Our own columns in a batch's table, beside the fields of the sync. A field cannot start with two underscores.
KEY, HASH, DOCUMENT, KIND = "__key", "__hash", "__document", "__kind"
NAMES, VALUES = "__names", "__values"
"""The two columns of a grouped sync that hold the members of a key, as two lists of texts."""


ABSENT = "the destination has no row with this key to update"
"""The reason for a rejection in the mode update."""


def utc(moment: datetime) -> datetime:
    """Return a moment as UTC without a zone, as every table of our own holds it."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


class Operation(StrEnum):
    """The operation that a batch asks a destination to do with its rows."""

    UPSERT = "upsert"
    INSERT = "insert"  # rows that are there stay as they are: they count as repeated
    UPDATE = "update"  # rows that are not there are rejected with `ABSENT`
    APPEND = "append"
    REMOVE = "remove"


class Kind(StrEnum):
    """Why a row is in a plan."""

    ADDED = "added"
    CHANGED = "changed"
    REFRESHED = "refreshed"  # the same content again, because the destination lets it expire
    REMOVED = "removed"
    REPAIRED = "repaired"  # the destination had lost or changed it
    RESTORED = "restored"  # as it was before a run that was undone


@dataclass(frozen=True)
class Batch:
    """Rows to deliver together. `table` has the columns above and, unless rows are removed, the sync's fields."""

    operation: Operation
    table: pa.Table
    now: datetime
    sequence: int = 0  # of the sync: how many batches were acknowledged before this one
    keep: frozenset[str] = frozenset()  # fields that rows which are there keep as they are (see `DRIFT`)
    run_id: str = ""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def _texts(self, column: str) -> list[str]:
        return list(self.table[column].to_pylist())

    @cached_property
    def keys(self) -> list[str]:
        """Return the key of each row; keys are unique within the batch."""
        return self._texts(KEY)

    @property
    def has_documents(self) -> bool:
        """Return whether the rows have documents: when rows are removed there are only keys."""
        return self.operation is not Operation.REMOVE

    @cached_property
    def documents(self) -> list[str]:
        """Return each row as JSON text."""
        return self._texts(DOCUMENT)

    @cached_property
    def identity(self) -> str:
        """Return an idempotency key for the whole batch.

        A repeated batch has the same key; an append or insert has it also in the run after a crash. The key differs
        when the same rows are sent again later (a segment that went to and fro), because batches were acknowledged in
        between. An operation that sets rows has a new key in each run: had a killed run sent other values meanwhile
        without a record of it, an API that recognised the key would leave those.
        """
        run = "" if self.operation in (Operation.APPEND, Operation.INSERT) else self.run_id
        digest = hashlib.sha256(f"{self.operation.value}\0{self.sequence}\0{run}".encode())
        for key, content in zip(self.keys, self._texts(HASH), strict=True):
            digest.update(f"\0{key}\0{content}".encode())
        return digest.hexdigest()

    def part(self, start: int, length: int) -> Batch:
        """Return some of the batch's rows: a destination that refuses a batch as a whole is asked again with its
        halves."""
        return replace(self, table=self.table.slice(start, length))


@dataclass(frozen=True)
class Rejection:
    """A row that the destination will never take as it is. `reason` says why, without the row's content."""

    key: str
    reason: str


@dataclass(frozen=True)
class Delivery:
    """The result of a batch at its destination: every row that is not rejected is there now."""

    rejections: Sequence[Rejection] = field(default_factory=tuple)
    repeated: int = 0  # rows of an append or insert that were there already, most often from before a crash


class Destination(ABC):
    """One open destination. `deliver` must be harmless when repeated: a batch may come again after a crash."""

    @abstractmethod
    def deliver(self, batch: Batch) -> Delivery:
        """Take a batch.

        Raises:
            Retryable: not now; nothing or part of the batch was applied.
            ConfigurationError: it will never take a batch until the user changes the file or the variable it names.
        """

    def prepare(self) -> None:  # noqa: B027  (most have nothing to do)
        """Check that the destination fits the sync, before the first batch of a run; create what the sync is to
        create."""

    def read(self, buckets: Sequence[int] | None = None) -> pa.Table | None:
        """Return what the destination holds: the sync's fields as texts, one row for each row of the model.

        None: the destination cannot be read.

        `buckets` (only where `digests` answers) asks for the keys of some buckets only.
        """
        return None

    def look(self, keys: Sequence[str]) -> list[dict[str, Any]] | None:
        """Return what the destination holds under some keys, for people, as one dictionary for each row.

        None: the destination cannot look up keys.
        """
        return None

    def digests(self) -> pa.Table | None:
        """Return `bucket`, `rows` and `digest` (text) of each bucket, computed where the rows are. None: read
        everything.

        A key's bucket is the first ten bits of its MD5. The digest is the sum of the first 64 bits (signed) of the MD5
        of each row's document, as `activations.shape` writes documents. Where a document would be written otherwise,
        the digest differs and the bucket is read: a digest may say "look" too often, never "equal" wrongly.
        """
        return None

    def close(self) -> None:  # noqa: B027
        """Close the destination's connections, if it has any."""


def halves(destination: Destination, batch: Batch, reason: str) -> Delivery:
    """Deliver a batch that was refused as a whole in two parts, down to the rows that are the cause."""
    if len(batch) == 1:
        return Delivery((Rejection(batch.keys[0], reason),))
    middle = len(batch) // 2
    left = destination.deliver(batch.part(0, middle))
    right = destination.deliver(batch.part(middle, len(batch) - middle))
    return Delivery((*left.rejections, *right.rejections), left.repeated + right.repeated)
