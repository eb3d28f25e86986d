"""Syncs are files: `activations/syncs/<name>.yaml`, validated here, with errors that name file, line and field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

import msgspec

from activations.declaration import Place, Sync, destination_module, destination_types
from searchflow import documents, gates
from searchflow.errors import ConfigurationError, NotFoundError
from searchflow.settings import ROOT

SYNCS_DIR = gates.SYNCS_DIR
SUITES_DIR = ROOT / "expectations"
MODELS_DIR = ROOT / "models"


def load_syncs(folder: Path = SYNCS_DIR) -> dict[str, Sync]:
    """Return name -> sync, in the order of their names.

    Raises:
        ConfigurationError: a file is wrong; names the file, the line and the field.
    """
    return {name: _load(folder / f"{name}.yaml") for name in sync_names(folder)}


def sync_names(folder: Path = SYNCS_DIR) -> list[str]:
    """Return the names of all syncs, without reading their files."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load_sync(name: str, folder: Path = SYNCS_DIR) -> Sync:
    """Read and check one sync.

    Raises:
        NotFoundError: there is no such file.
        ConfigurationError: the file is wrong.
    """
    known = sync_names(folder)
    if name not in known:
        raise NotFoundError("sync", name, known, "A sync is a file in activations/syncs/.")
    return _load(folder / f"{name}.yaml")


def _load(path: Path) -> Sync:
    sync, text = documents.read(path, Sync)
    if sync.name != path.stem:
        raise documents.wrong(path, text, ["name"], f"is {sync.name!r}, but the file is {path.name}")
    for place, problem in (*sync.problems(), *_unknown_names(sync)):
        raise documents.wrong(path, text, place, problem)
    _check_destination(path, text, sync)
    return msgspec.structs.replace(sync, file=str(path))


def wrong(sync: Sync, place: Place, problem: str) -> ConfigurationError:
    """Return the error for something in a sync's file that only a run can find out."""
    path = Path(sync.file)
    return documents.wrong(path, path.read_text(encoding="utf-8"), place, problem)


def _unknown_names(sync: Sync) -> Iterator[tuple[Place, str]]:
    """Yield names of models and suites that have no file (path = name), so that they are found before anything runs."""
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
    """Check the destination's own rules: its options, its modes, and whether it can leave a field as it is."""
    if "type" not in sync.destination:
        raise documents.wrong(
            path, text, ["destination", "type"], f"is missing; known: {', '.join(destination_types())}"
        )
    try:
        module = destination_module(sync.kind)
    except NotFoundError as error:
        raise documents.wrong(path, text, ["destination", "type"], str(error)) from None
    if sync.mode not in module.MODES:
        can = ", ".join(sorted(module.MODES))
        raise documents.wrong(path, text, ["mode"], f"{sync.kind} cannot {sync.mode}; it can {can}")
    if sync.group is not None and not module.GROUPS:
        raise documents.wrong(
            path, text, ["group"], f"{sync.kind} writes one row per key and cannot group rows; leave it out"
        )
    for index, field in enumerate(sync.fields):
        if field.nulls == "keep" and not module.KEEPS_FIELDS:
            problem = f"{sync.kind} replaces a row as a whole and cannot keep one field; choose send or reject"
            raise documents.wrong(path, text, ["fields", index, "nulls"], problem)
        if field.drift not in module.DRIFT:
            problem = f"{sync.kind} cannot leave one field of a row as it is; choose ours"
            raise documents.wrong(path, text, ["fields", index, "drift"], problem)
    try:
        sync.options()
    except msgspec.ValidationError as error:
        raise documents.invalid(path, text, error, within=["destination"]) from None
