"""Syncs are files: `activations/syncs/<name>.yaml`, validated here, with errors that name file, line and field."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from searchflow.errors import ConfigurationError, NotFoundError
from searchflow.settings import ROOT

SYNCS_DIR = ROOT / "activations" / "syncs"

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*$")]
Type = Annotated[
    str,
    Meta(pattern=r"^(text|boolean|integer|bigint|double|date|timestamp|decimal\([1-9][0-9]?, ?[0-9]{1,2}\))$"),
]
Mode = Literal["upsert", "mirror", "append"]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a sync file: an unknown field is a typing mistake, not an extension."""


class Field(_Strict, frozen=True):
    """One field that leaves the warehouse. Every field is declared; nothing leaves by accident."""

    name: Name
    type: Type
    column: Name | None = None  # of the model; unset: the same name
    required: bool = False  # a row without it is rejected, not sent
    personal: bool = False  # masked wherever a person or a log might see it

    @property
    def source(self) -> str:
        """The model's column."""
        return self.column or self.name


class Group(_Strict, frozen=True):
    """Several rows of the model make one thing in the destination: the rows of a key become its members."""

    member: Name  # the field that tells the members of a key apart
    value: Name


class Limits(_Strict, frozen=True):
    """The blast radius: more than this stops the sync before it sends, unless somebody approves."""

    removed_share: Annotated[float, Meta(ge=0, le=1)] = 0.2  # of what the destination holds
    removed: Annotated[int, Meta(ge=0)] = 10_000
    removed_always: Annotated[int, Meta(ge=0)] = 5  # so few are never an accident, whatever their share
    empty: bool = False  # is a source without rows an ordinary state?


class Sync(_Strict, frozen=True):
    """One sync file."""

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
    limits: Limits = msgspec.field(default_factory=Limits)
    schedule: str | None = None  # cron, UTC; unset: only when asked

    def __post_init__(self) -> None:
        names = [each.name for each in self.fields]
        for label, wanted in self._references():
            if wanted not in names:
                raise ValueError(f"{label} names the field `{wanted}`, which `fields` does not declare")
        if len(set(names)) != len(names):
            raise ValueError(f"`fields` declares {next(n for n in names if names.count(n) > 1)!r} twice")
        if self.group is not None and {self.key, self.group.member, self.group.value} != set(names):
            raise ValueError("a grouped sync has exactly the fields of `key`, `group.member` and `group.value`")

    def _references(self) -> list[tuple[str, str]]:
        found = [("`key`", self.key)]
        if self.group is not None:
            found += [("`group.member`", self.group.member), ("`group.value`", self.group.value)]
        return found

    @property
    def personal(self) -> frozenset[str]:
        """Fields to mask."""
        return frozenset(each.name for each in self.fields if each.personal)

    @property
    def once(self) -> bool:
        """A key is sent once, ever: what was sent is never changed or removed."""
        return self.mode == "append"

    @property
    def keeps_rows(self) -> bool:
        """Does the ledger hold what was sent? Not where it could never be used (and is most often personal)."""
        return not self.once and not self.personal

    @property
    def kind(self) -> str:
        """The destination's type: the name of its module."""
        return str(self.destination["type"])

    def options(self) -> Any:
        """The destination's own part of the file, as its module declares it."""
        given = {name: value for name, value in self.destination.items() if name != "type"}
        return msgspec.convert(given, destination_module(self.kind).Options)


def destination_types() -> list[str]:
    """The modules in `activations/destinations/`."""
    import activations.destinations as package

    return [entry.name for entry in pkgutil.iter_modules(package.__path__) if not entry.name.startswith("_")]


def destination_module(kind: str) -> ModuleType:
    """The module of a destination's type; imported only when a sync needs it."""
    if kind not in destination_types():
        raise NotFoundError("destination type", kind, destination_types())
    return importlib.import_module(f"activations.destinations.{kind}")


def load_syncs(folder: Path = SYNCS_DIR) -> dict[str, Sync]:
    """Name -> sync, in the order of their names.

    Raises:
        ConfigurationError: a file is wrong; names the file, the line and the field.
    """
    return {path.stem: _load(path) for path in sorted(folder.glob("*.yaml"))}


def load_sync(name: str, folder: Path = SYNCS_DIR) -> Sync:
    """One sync.

    Raises:
        NotFoundError: there is no such file.
        ConfigurationError: the file is wrong.
    """
    known = [path.stem for path in folder.glob("*.yaml")]
    if name not in known:
        raise NotFoundError("sync", name, known, "A sync is a file in activations/syncs/.")
    return _load(folder / f"{name}.yaml")


def _load(path: Path) -> Sync:
    text = path.read_text(encoding="utf-8")
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        raise _wrong(path, line, "the file", str(getattr(error, "problem", "it is not YAML"))) from None
    try:
        sync = msgspec.convert(document, Sync)
    except msgspec.ValidationError as error:
        raise _invalid(path, text, error) from None
    if sync.name != path.stem:
        raise _wrong(path, _line(text, ["name"]), "name", f"is {sync.name!r}, but the file is {path.name}")
    _check_destination(path, text, sync)
    return sync


def _check_destination(path: Path, text: str, sync: Sync) -> None:
    line = _line(text, ["destination"])
    if "type" not in sync.destination:
        raise _wrong(path, line, "destination.type", f"is missing; known: {', '.join(destination_types())}")
    try:
        module = destination_module(sync.kind)
    except NotFoundError as error:
        raise _wrong(path, _line(text, ["destination", "type"]), "destination.type", str(error)) from None
    if sync.mode not in module.MODES:
        problem = f"{sync.kind} cannot {sync.mode}; it can {', '.join(sorted(module.MODES))}"
        raise _wrong(path, _line(text, ["mode"]), "mode", problem)
    try:
        sync.options()
    except msgspec.ValidationError as error:
        raise _invalid(path, text, error, within=["destination"]) from None


def _invalid(
    path: Path, text: str, error: msgspec.ValidationError, within: list[str] | None = None
) -> ConfigurationError:
    problem, _, place = str(error).partition(" - at `$")
    steps: list[str | int] = [*(within or [])]
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", place):
        steps.append(int(index) if index else name)
    named = re.search(r"(?:unknown|required) field `(\w+)`", problem)
    shown = [*steps, named.group(1)] if named else steps
    return _wrong(path, _line(text, shown), _dotted(shown) or "the file", problem)


def _dotted(steps: list[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")


def _wrong(path: Path, line: int, what: str, problem: str) -> ConfigurationError:
    place = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    problem = problem[:1].lower() + problem[1:]
    return ConfigurationError(
        f"{place}, line {line}, {what}", problem.rstrip(".") + ".", "Correct the file, then run again."
    )


def _line(text: str, steps: list[Any]) -> int:
    """Where a field stands: as near as the file has it."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = 1
    for step in steps:
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == step), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line
