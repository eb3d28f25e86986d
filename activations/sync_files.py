"""Syncs are files: `activations/syncs/<name>.yaml`, validated here, with errors that name file, line and field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

import msgspec
import yaml

from activations.declaration import Place, Sync, destination_module, destination_types
from searchflow.errors import ConfigurationError, NotFoundError
from searchflow.settings import ROOT

SYNCS_DIR = ROOT / "activations" / "syncs"
SUITES_DIR = ROOT / "expectations"
MODELS_DIR = ROOT / "models"


def load_syncs(folder: Path = SYNCS_DIR) -> dict[str, Sync]:
    """Name -> sync, in the order of their names.

    Raises:
        ConfigurationError: a file is wrong; names the file, the line and the field.
    """
    return {name: _load(folder / f"{name}.yaml") for name in sync_names(folder)}


def sync_names(folder: Path = SYNCS_DIR) -> list[str]:
    """Which syncs there are, without reading their files."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load_sync(name: str, folder: Path = SYNCS_DIR) -> Sync:
    """One sync.

    Raises:
        NotFoundError: there is no such file.
        ConfigurationError: the file is wrong.
    """
    known = sync_names(folder)
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
        raise _at_line(path, line, "the file", str(getattr(error, "problem", "it is not YAML"))) from None
    try:
        sync = msgspec.convert(document, Sync)
    except msgspec.ValidationError as error:
        raise _invalid(path, text, error) from None
    if sync.name != path.stem:
        raise _wrong(path, text, ["name"], f"is {sync.name!r}, but the file is {path.name}")
    for place, problem in (*sync.problems(), *_unknown_names(sync)):
        raise _wrong(path, text, place, problem)
    _check_destination(path, text, sync)
    return msgspec.structs.replace(sync, file=str(path))


def wrong(sync: Sync, place: Place, problem: str) -> ConfigurationError:
    """The error for something in a sync's file that only a run can find out."""
    path = Path(sync.file)
    return _wrong(path, path.read_text(encoding="utf-8"), place, problem)


def _unknown_names(sync: Sync) -> Iterator[tuple[Place, str]]:
    """Model and suites are files (path = name), so that a name nobody has made is found before anything runs."""
    schema, table = sync.model.split(".")
    if not any((MODELS_DIR / schema / f"{table}{suffix}").exists() for suffix in (".sql", ".py")):
        near = _near(sync.model, (f"{path.parent.name}.{path.stem}" for path in MODELS_DIR.glob("*/*.sql")))
        yield ("model",), f"names {sync.model}, but there is no models/{schema}/{table}.sql{near}"
    suites = [f"{path.parent.name}.{path.stem}" for path in SUITES_DIR.glob("*/*.py") if path.stem != "__init__"]
    groups = {suite.partition(".")[0] for suite in suites}
    for index, name in enumerate(sync.gate):
        if name not in suites and name not in groups:
            yield ("gate", index), f"names the suite {name!r}, which is not in expectations/{_near(name, suites)}"


def _near(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _check_destination(path: Path, text: str, sync: Sync) -> None:
    """The destination's own rules: its options, its modes, and whether it can leave a field as it is."""
    if "type" not in sync.destination:
        raise _wrong(path, text, ["destination", "type"], f"is missing; known: {', '.join(destination_types())}")
    try:
        module = destination_module(sync.kind)
    except NotFoundError as error:
        raise _wrong(path, text, ["destination", "type"], str(error)) from None
    if sync.mode not in module.MODES:
        can = ", ".join(sorted(module.MODES))
        raise _wrong(path, text, ["mode"], f"{sync.kind} cannot {sync.mode}; it can {can}")
    for index, field in enumerate(sync.fields):
        if field.nulls == "keep" and not module.KEEPS_FIELDS:
            problem = f"{sync.kind} replaces a row as a whole and cannot keep one field; choose send or reject"
            raise _wrong(path, text, ["fields", index, "nulls"], problem)
        if field.drift not in module.DRIFT:
            problem = f"{sync.kind} cannot leave one field of a row as it is; choose ours"
            raise _wrong(path, text, ["fields", index, "drift"], problem)
    try:
        sync.options()
    except msgspec.ValidationError as error:
        raise _invalid(path, text, error, within=["destination"]) from None


def _invalid(
    path: Path, text: str, error: msgspec.ValidationError, within: Sequence[str | int] = ()
) -> ConfigurationError:
    problem, _, place = str(error).partition(" - at `$")
    steps = list(within)
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", place):
        steps.append(int(index) if index else name)
    named = re.search(r"(?:unknown|required) field `(\w+)`", problem)
    return _wrong(path, text, [*steps, named.group(1)] if named else steps, problem)


def _wrong(path: Path, text: str, steps: Sequence[str | int], problem: str) -> ConfigurationError:
    dotted = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    return _at_line(path, _line(text, steps), dotted or "the file", problem)


def _at_line(path: Path, line: int, what: str, problem: str) -> ConfigurationError:
    place = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    problem = (problem[:1].lower() + problem[1:]).rstrip(".")
    problem += "" if problem.endswith("?") else "."
    return ConfigurationError(f"{place}, line {line}, {what}", problem, "Correct the file, then run again.")


def _line(text: str, steps: Sequence[str | int]) -> int:
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
