"""The contract of a destination as checks that run against a real one: `docs/guides/new-destination.md` shows how.

A `Trial` says how to reach one destination under test; `checks(trial)` are the promises that apply to it, one function
each, for `pytest.mark.parametrize`. What a destination cannot be made to do is named in `Trial.cannot` with the reason,
so that no check is left out silently.
"""

from __future__ import annotations

import hashlib
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

import duckdb
import msgspec
import pyarrow as pa

from activations.base import DOCUMENT, HASH, KEY, KIND, Batch, Destination, Kind, Operation
from activations.buckets import BUCKETS
from activations.declaration import Field, Mode, Sync, destination_module
from activations.errors import Retryable
from activations.shape import shaped
from searchflow.settings import Settings

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
FIELDS = (("id", "text"), ("label", "text"), ("amount", "decimal(18,2)"), ("seen_at", "timestamp"), ("note", "text"))
Row = tuple[str, str | None, str | None, str | None, str | None]
"""A row: the values of `FIELDS`, as texts."""
SEEN = "2026-03-09 08:30:00"
ROWS: tuple[Row, ...] = (
    ("k1", "plain", "10.50", SEEN, "a note"),
    ("k2", "quo\"te's, comma; semicolon", "0.00", "2026-03-09 08:30:00.123456", ""),
    ("k3", "line\nbreak\tand tab", "-1.25", None, "=1+1"),
    ("k4", "ünïcode ✓ back\\slash", None, SEEN, "'quoted"),
    ("k 5/é:*", None, "1234567.89", SEEN, None),
)
"""Rows that a destination must give back as it took them: null and empty text apart, every character."""
Gap = Literal["unreachable", "refuse"]
Check = Callable[["Trial"], None]


class Trial(ABC):
    """One destination under test. Each trial starts with nothing in it, under a name of its own."""

    kind: ClassVar[str]
    cannot: ClassVar[Mapping[Gap, str]] = MappingProxyType({})
    """The things that this destination cannot be made to do, and why."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.name = f"trial_{uuid.uuid4().hex[:8]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:  # noqa: B027  (most have nothing to stop)
        """Stop what the trial started."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Return what a sync file would say under `destination`, besides `type`."""

    def rows(self, sync: Sync, destination: Destination) -> pa.Table:
        """Return what is there, row by row, as texts; read by another program than the destination where that is
        possible."""
        found = destination.read()
        assert found is not None, f"{self.kind} cannot be read back: override Trial.rows with eyes of your own"
        return found

    def unreachable(self, sync: Sync) -> Destination:
        """Return this destination at an address where no server answers."""
        raise NotImplementedError(self._missing("unreachable"))

    def refuse(self, sync: Sync, key: str) -> None:
        """Let the destination refuse the row with this key from now on (others are there already)."""
        raise NotImplementedError(self._missing("refuse"))

    def _missing(self, gap: Gap) -> str:
        return f"Override {type(self).__name__}.{gap}, or name {gap!r} in its `cannot` with the reason."

    # --- what checks use

    def sync(self, mode: Mode, **changes: dict[str, Any]) -> Sync:
        """Return a sync to this destination; `changes` are of single fields."""
        fields = [Field(name=name, type=kind, **changes.get(name, {})) for name, kind in FIELDS]
        destination = {"type": self.kind, **self.options()}
        return Sync(
            name=self.name, description="A trial.", model="activation.trial", key="id", mode=mode, fields=fields,
            destination=destination, gate=["activation"],
        )  # fmt: skip

    @contextmanager
    def opened(self, sync: Sync) -> Iterator[Destination]:
        """Open a new connection, as each run has one."""
        destination: Destination = destination_module(self.kind).open_destination(sync, sync.options(), self.settings)
        try:
            destination.prepare()
            yield destination
        finally:
            destination.close()

    def deliver(self, sync: Sync, *batches: Batch) -> list[Any]:
        """Deliver some batches in one run."""
        with self.opened(sync) as destination:
            return [destination.deliver(each) for each in batches]

    def held(self, sync: Sync) -> dict[str, str]:
        """Return key -> hash of what is there; for an append, key -> its key."""
        with self.opened(sync) as destination:
            found = self.rows(sync, destination)
        if sync.mode == "append":
            keys = found[sync.key].to_pylist()
            assert len(keys) == len(set(keys)), "a key was appended twice"
            return {key: key for key in keys}
        for field in sync.fields:
            if field.name not in found.column_names:
                found = found.append_column(field.name, pa.nulls(found.num_rows, pa.string()))
        return _hashes(sync, found)


def checks(trial: type[Trial]) -> list[Check]:
    """Return the promises that a destination of this kind must keep."""
    module = destination_module(trial.kind)
    found = []
    for check, modes, gap in _CHECKS:
        if not modes & module.MODES or gap in trial.cannot:
            continue
        if check is a_null_that_is_kept_leaves_what_is_there and not module.KEEPS_FIELDS:
            continue
        if check is fields_of_others_stay_as_they_are and "theirs" not in module.DRIFT:
            continue
        found.append(check)
    return found


def batch(
    sync: Sync, operation: Operation, rows: Sequence[Row], *, sequence: int = 0, keep: Sequence[str] = ()
) -> Batch:
    """Return a batch as the engine makes them. A removal has only keys."""
    columns = "" if operation is Operation.REMOVE else f", {DOCUMENT}, {', '.join(name for name, _ in FIELDS)}"
    hashed = "''" if operation is Operation.REMOVE else f"{HASH}::VARCHAR"
    kind = Kind.REMOVED if operation is Operation.REMOVE else Kind.ADDED
    with duckdb.connect(":memory:") as connection:
        connection.register("given", _table(rows))
        table = connection.execute(
            f"SELECT {KEY}, {hashed} AS {HASH}, '{kind}' AS {KIND}{columns} FROM ({shaped(sync, 'given')}) ORDER BY 1"
        ).to_arrow_table()
    return Batch(operation, table, NOW, sequence, frozenset(keep))


def _table(rows: Sequence[Row]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [[]] * len(FIELDS)
    return pa.table(
        {name: pa.array(values, pa.string()) for (name, _), values in zip(FIELDS, map(list, columns), strict=True)}
    )


def _hashes(sync: Sync, found: pa.Table) -> dict[str, str]:
    with duckdb.connect(":memory:") as connection:
        connection.register("found", found)
        rows = connection.execute(f"SELECT {KEY}, {HASH}::VARCHAR FROM ({shaped(sync, 'found')})").fetchall()
    assert len(rows) == len(dict(rows)), "a key is there twice"
    return dict(rows)


def _expected(sync: Sync, rows: Sequence[Row]) -> dict[str, str]:
    if sync.mode == "append":
        return {row[0]: row[0] for row in rows}
    return _hashes(sync, _table(rows))


def _filled(trial: Trial, mode: Mode = "upsert", **changes: dict[str, Any]) -> Sync:
    """Return a sync whose rows are at the destination."""
    sync = trial.sync(mode, **changes)
    trial.deliver(sync, batch(sync, sync.operation, ROWS))
    return sync


def _main_mode(trial: Trial) -> Mode:
    modes = destination_module(trial.kind).MODES
    return "upsert" if "upsert" in modes else "append"


# --- the promises


def what_arrives_is_what_was_sent(trial: Trial) -> None:
    """Check that every value comes back as it was: null and empty text apart, quotes, line breaks, formulas."""
    sync = trial.sync(_main_mode(trial))
    [delivery] = trial.deliver(sync, batch(sync, sync.operation, ROWS))
    assert list(delivery.rejections) == []
    assert trial.held(sync) == _expected(sync, ROWS)


def a_repeat_changes_nothing(trial: Trial) -> None:
    """Deliver a batch again, by a run that does not know of the first delivery."""
    sync = trial.sync(_main_mode(trial))
    for _ in range(2):
        trial.deliver(sync, batch(sync, sync.operation, ROWS))
    assert trial.held(sync) == _expected(sync, ROWS)


def killed_between_delivery_and_record_it_ends_the_same(trial: Trial) -> None:
    """Check a kill after the second batch was delivered and before it was recorded: the next run delivers it again and
    goes on."""
    sync = trial.sync(_main_mode(trial))
    batches = [batch(sync, sync.operation, ROWS[first : first + 2], sequence=first // 2) for first in (0, 2, 4)]
    trial.deliver(sync, *batches[:2])
    trial.deliver(sync, *batches[1:])
    assert trial.held(sync) == _expected(sync, ROWS)


def a_change_replaces_its_row_and_no_other(trial: Trial) -> None:
    """Check a changed row, also where the new value is null."""
    sync = _filled(trial)
    changed: Row = ("k2", None, "7.00", None, "changed")
    trial.deliver(sync, batch(sync, Operation.UPSERT, [changed], sequence=1))
    assert trial.held(sync) == _expected(sync, [changed if row[0] == "k2" else row for row in ROWS])


def removed_rows_are_gone_and_a_repeat_is_harmless(trial: Trial) -> None:
    """Check that a mirror takes out who left, and that keys that are not there are no error."""
    sync = _filled(trial, "mirror")
    absent: Row = ("never there", None, None, None, None)
    for _ in range(2):
        trial.deliver(sync, batch(sync, Operation.REMOVE, [*ROWS[:2], absent], sequence=1))
    assert trial.held(sync) == _expected(sync, ROWS[2:])


def who_was_removed_can_return(trial: Trial) -> None:
    """Check that who returns is there as if they had never left."""
    sync = _filled(trial, "mirror")
    trial.deliver(sync, batch(sync, Operation.REMOVE, ROWS[:1], sequence=1))
    trial.deliver(sync, batch(sync, Operation.UPSERT, ROWS[:1], sequence=2))
    assert trial.held(sync) == _expected(sync, ROWS)


def an_insert_leaves_rows_that_are_there(trial: Trial) -> None:
    """Check that an insert leaves existing rows and says how many there were."""
    sync = trial.sync("insert")
    trial.deliver(sync, batch(sync, Operation.INSERT, ROWS[:2]))
    others = [(row[0], "other", None, None, None) for row in ROWS[:2]]
    [delivery] = trial.deliver(sync, batch(sync, Operation.INSERT, [*others, *ROWS[2:]], sequence=1))
    assert (delivery.repeated, list(delivery.rejections)) == (2, [])
    assert trial.held(sync) == _expected(sync, ROWS)


def an_update_rejects_rows_that_are_not_there(trial: Trial) -> None:
    """Check that rows which are not there are named, and not created."""
    sync = trial.sync("update")
    upsert = msgspec.structs.replace(sync, mode="upsert")
    trial.deliver(upsert, batch(upsert, Operation.UPSERT, ROWS[:2]))
    changed: Row = ("k1", "changed", "0.01", SEEN, None)
    [delivery] = trial.deliver(sync, batch(sync, Operation.UPDATE, [changed, ROWS[2]], sequence=1))
    assert [each.key for each in delivery.rejections] == ["k3"]
    assert trial.held(sync) == _expected(sync, [changed, ROWS[1]])


def a_null_that_is_kept_leaves_what_is_there(trial: Trial) -> None:
    """Check `nulls: keep`: a null leaves the value that is there."""
    sync = _filled(trial, label={"nulls": "keep"})
    trial.deliver(sync, batch(sync, Operation.UPSERT, [("k1", None, "1.00", SEEN, None)], sequence=1))
    assert trial.held(sync) == _expected(sync, [("k1", "plain", "1.00", SEEN, None), *ROWS[1:]])


def fields_of_others_stay_as_they_are(trial: Trial) -> None:
    """Check `drift: theirs`: a field is filled when the row is added, and left from then on."""
    sync = _filled(trial, label={"drift": "theirs"})
    new: Row = ("k9", "new", None, None, None)
    changed = batch(sync, Operation.UPSERT, [("k1", "ours", "1.00", SEEN, None), new], sequence=1, keep=["label"])
    trial.deliver(sync, changed)
    assert trial.held(sync) == _expected(sync, [("k1", "plain", "1.00", SEEN, None), *ROWS[1:], new])


def a_refused_row_is_named_and_the_rest_is_there(trial: Trial) -> None:
    """Check that a refused row is named, with a reason that holds nothing of the row."""
    sync = trial.sync(_main_mode(trial))
    trial.deliver(sync, batch(sync, sync.operation, ROWS[:1]))
    trial.refuse(sync, "k3")
    [delivery] = trial.deliver(sync, batch(sync, sync.operation, ROWS[1:], sequence=1))
    [rejection] = delivery.rejections
    assert rejection.key == "k3"
    assert rejection.reason
    assert not [value for value in ROWS[2][1:] if value and value in rejection.reason]
    assert trial.held(sync) == _expected(sync, [row for row in ROWS if row[0] != "k3"])


def no_server_answers_and_it_can_be_tried_again(trial: Trial) -> None:
    """Check that `Retryable` is raised while no server answers and nothing is there; later all rows are."""
    sync = trial.sync(_main_mode(trial))
    rows = batch(sync, sync.operation, ROWS)
    away = trial.unreachable(sync)
    said = ""
    try:
        away.prepare()
        away.deliver(rows)
    except Retryable as problem:
        said = problem.reason
    finally:
        away.close()
    assert said, "no server was there, and nothing was said"
    trial.deliver(sync, rows)
    assert trial.held(sync) == _expected(sync, ROWS)


def digests_are_those_of_what_was_sent(trial: Trial) -> None:
    """Check digests where there are any, and that a bucket can be read alone."""
    sync = _filled(trial)
    with trial.opened(sync) as destination:
        digests = destination.digests()
        if digests is None:
            return
        there = {int(row["bucket"]): (int(row["rows"]), int(row["digest"])) for row in digests.to_pylist()}
        assert there == _digests(sync)
        number = min(there)
        part = destination.read([number])
        assert part is not None
        assert part.num_rows == there[number][0]


def _digests(sync: Sync) -> dict[int, tuple[int, int]]:
    """Return the digests as `Destination.digests` describes them."""
    found: dict[int, tuple[int, int]] = {}
    for key, content in _hashes(sync, _table(ROWS)).items():
        number = int(hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()[:8], 16) * BUCKETS >> 32
        signed = int.from_bytes(uuid.UUID(content).bytes[:8], signed=True)
        rows, digest = found.get(number, (0, 0))
        found[number] = (rows + 1, digest + signed)
    return found


_UPSERT, _MIRROR = frozenset({"upsert"}), frozenset({"mirror"})
_ANY = frozenset({"upsert", "append"})
_CHECKS: tuple[tuple[Check, frozenset[str], Gap | None], ...] = (
    (what_arrives_is_what_was_sent, _ANY, None),
    (a_repeat_changes_nothing, _ANY, None),
    (killed_between_delivery_and_record_it_ends_the_same, _ANY, None),
    (a_change_replaces_its_row_and_no_other, _UPSERT, None),
    (removed_rows_are_gone_and_a_repeat_is_harmless, _MIRROR, None),
    (who_was_removed_can_return, _MIRROR, None),
    (an_insert_leaves_rows_that_are_there, frozenset({"insert"}), None),
    (an_update_rejects_rows_that_are_not_there, frozenset({"update"}), None),
    (a_null_that_is_kept_leaves_what_is_there, _UPSERT, None),
    (fields_of_others_stay_as_they_are, _UPSERT, None),
    (a_refused_row_is_named_and_the_rest_is_there, _ANY, "refuse"),
    (no_server_answers_and_it_can_be_tried_again, _ANY, "unreachable"),
    (digests_are_those_of_what_was_sent, _UPSERT, None),
)
