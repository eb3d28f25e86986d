"""The content of a sync file, as types. `activations.sync_files` reads the files and names file, line and field."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from activations.base import Operation
from activations.schedule import cron_problem
from searchflow.errors import NotFoundError
from searchflow.holdout import Rule

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*$")]
Type = Annotated[
    str,
    Meta(pattern=r"^(text|boolean|integer|bigint|double|date|timestamp|decimal\([1-9][0-9]?, ?[0-9]{1,2}\))$"),
]
Mode = Literal["upsert", "insert", "update", "mirror", "append"]
"""The modes. upsert: new and changed rows. insert: new rows, those that are there stay as they are. update: rows that
are there already, others are rejected. mirror: upsert, and rows that left the model leave the destination. append:
each key once, ever."""
OPERATIONS = {"insert": Operation.INSERT, "update": Operation.UPDATE, "append": Operation.APPEND}
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Place = tuple[str | int, ...]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a sync file: an unknown field is a typing mistake, not an extension."""


class Field(_Strict, frozen=True):
    """One field that leaves the warehouse. Every field is declared; nothing leaves by accident."""

    name: Name
    type: Type
    column: Name | None = None  # of the model; unset: the same name
    nulls: Literal["send", "keep", "reject"] = "send"  # empty it there; leave what is there; reject the row
    drift: Literal["ours", "theirs", "report"] = "ours"
    """The answer to an edit that another program or person made there. ours: a repair writes our value again. theirs:
    the field is filled when a row is added, and belongs to the destination from then on. report: the edit is
    reported, and a repair leaves it."""
    personal: bool = False  # masked wherever a person or a log might see it

    @property
    def source(self) -> str:
        """Return the model's column for the field."""
        return self.column or self.name


class Group(_Strict, frozen=True):
    """Several rows of the model make one thing in the destination: the rows of a key become its members."""

    member: Name  # the field that tells the members of a key apart
    value: Name


class Groups(_Strict, frozen=True):
    """A field with few values (a segment) whose groups may not jump in size against their own history."""

    field: Name
    share: Share = 0.5  # of the group as it was last sent
    rows: Count = 100  # steps up to this size are never looked at


class Limits(_Strict, frozen=True):
    """The blast radius: more than this stops the sync before it sends, unless a user approves it."""

    removed_share: Share = 0.2  # of what the destination holds
    removed: Count = 10_000
    changed_share: Share = 0.5
    changed: Count = 100_000
    always: Count = 5  # so few removals or changes are never an accident, whatever their share
    empty: bool = False  # is a source without rows an ordinary state?
    groups: Groups | None = None


class Holdout(_Strict, frozen=True):
    """Users that are kept out, so that one can see what the sync changes. Another seed is another experiment."""

    share: Annotated[float, Meta(gt=0, lt=1)]  # of the users
    seed: Annotated[str, Meta(min_length=1)]
    field: Name = "user_id"  # whose value is held out as a whole
    existing: Literal["keep", "remove"] = "keep"  # rows that the destination has already

    @property
    def rule(self) -> Rule:
        """Return the rule that decides who is held out."""
        return Rule(self.share, self.seed)


class Rate(_Strict, frozen=True):
    """The pace that a destination is asked to bear; batches wait for their turn."""

    rows: Annotated[int, Meta(ge=1)] | None = None
    batches: Annotated[int, Meta(ge=1)] | None = None
    per: Literal["second", "minute", "hour"] = "second"

    @property
    def seconds(self) -> int:
        """Return the length of `per` in seconds."""
        return {"second": 1, "minute": 60, "hour": 3600}[self.per]


class Sync(_Strict, frozen=True):
    """The content of one sync file."""

    name: Name
    description: str
    model: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")]
    key: Name
    mode: Mode
    fields: Annotated[list[Field], Meta(min_length=1)]
    destination: dict[str, Any]
    gate: Annotated[list[str], Meta(min_length=1)]
    group: Group | None = None
    batch_size: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    rate: Rate | None = None
    limits: Limits = msgspec.field(default_factory=Limits)
    holdout: Holdout | None = None
    schedule: str | None = None  # cron, UTC; unset: only when asked
    title: str = ""  # what the quality report calls it; unset: its name
    file: str = msgspec.field(default="", name="(file)")  # where it stands; set by who reads it

    @property
    def personal(self) -> frozenset[str]:
        """Return the fields to mask."""
        return frozenset(each.name for each in self.fields if each.personal)

    def source_of(self, name: str) -> str:
        """Return the model's column of a field."""
        return next(each.source for each in self.fields if each.name == name)

    def kept_fields(self, *, repair: bool = False) -> frozenset[str]:
        """Return the fields that existing rows keep, in an ordinary run or in a repair."""
        kept = ("theirs", "report") if repair else ("theirs",)
        return frozenset(each.name for each in self.fields if each.drift in kept)

    @property
    def operation(self) -> Operation:
        """Return what a batch of new and changed rows asks of the destination."""
        return OPERATIONS.get(self.mode, Operation.UPSERT)

    @property
    def once(self) -> bool:
        """Return whether a key is sent once: then the destination owns what was sent, and no sync changes or removes
        it."""
        return self.mode in ("append", "insert")

    @property
    def keeps_rows(self) -> bool:
        """Return whether the ledger holds what was sent; not where it could never be used (and is most often
        personal)."""
        return self.mode != "append" and not self.personal

    @property
    def kind(self) -> str:
        """Return the destination's type, which is the name of its module."""
        return str(self.destination["type"])

    def options(self) -> Any:
        """Return the destination's own part of the file, as its module declares it."""
        given = {name: value for name, value in self.destination.items() if name != "type"}
        return msgspec.convert(given, destination_module(self.kind).Options)

    def problems(self) -> Iterator[tuple[Place, str]]:
        """Yield the mistakes that the types cannot find: where in the file, and what is wrong."""
        names = [each.name for each in self.fields]
        for place, wanted in self._references():
            if wanted not in names:
                yield place, f"names the field {wanted!r}, which `fields` does not declare"
        for index, name in enumerate(names):
            if name in names[:index]:
                yield ("fields", index, "name"), f"declares {name!r} twice"
        if self.group is not None and {self.key, self.group.member, self.group.value} != set(names):
            yield ("group",), "a grouped sync has exactly the fields of `key`, `group.member` and `group.value`"
        if self.limits.groups is not None and self.limits.groups.field in (self.key, *self.personal):
            yield ("limits", "groups", "field"), "is the key or a personal field; choose one whose values may be shown"
        if self.rate is not None and self.rate.rows is None and self.rate.batches is None:
            yield ("rate",), "says neither `rows` nor `batches`"
        if self.rate is not None and self.rate.rows is not None and self.rate.rows < self.batch_size:
            yield ("rate", "rows"), f"is less than one batch ({self.batch_size:,}); lower `batch_size` too"
        if self.holdout is not None and self.holdout.existing == "remove" and self.mode != "mirror":
            yield ("holdout", "existing"), f"cannot be remove: the mode {self.mode} takes nothing back"
        if self.schedule is not None and (problem := cron_problem(self.schedule)):
            yield ("schedule",), problem

    def _references(self) -> list[tuple[Place, str]]:
        found: list[tuple[Place, str]] = [(("key",), self.key)]
        if self.group is not None:
            found += [(("group", "member"), self.group.member), (("group", "value"), self.group.value)]
        if self.holdout is not None:
            found.append((("holdout", "field"), self.holdout.field))
        if self.limits.groups is not None:
            found.append((("limits", "groups", "field"), self.limits.groups.field))
        return found


def destination_types() -> list[str]:
    """Return the names of the modules in `activations/destinations/`."""
    import activations.destinations as package

    return [entry.name for entry in pkgutil.iter_modules(package.__path__) if not entry.name.startswith("_")]


def destination_module(kind: str) -> ModuleType:
    """Import the module of a destination's type; only when a sync needs it."""
    if kind not in destination_types():
        raise NotFoundError("destination type", kind, destination_types())
    return importlib.import_module(f"activations.destinations.{kind}")
