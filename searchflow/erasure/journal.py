"""An erasure's notes: the person and what was there, so that a killed run can continue.

They are one file in `run/erasures/`, which only this account may read. It holds the person's identifiers in plain text for
as long as the erasure is not complete: once the raw tables have forgotten them, nothing else could say what is left to look
for.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from searchflow.erasure.person import Person
from searchflow.erasure.place import Finding
from searchflow.settings import Settings


class Journal(msgspec.Struct):
    """The notes of one erasure so far. `done` names the steps that need not be repeated."""

    erasure_id: str
    began_at: str
    person: Person
    found: list[Finding] = []
    days: list[str] = []
    done: list[str] = []
    facts: dict[str, int] = {}

    def save(self, settings: Settings, subject: str) -> None:
        """Write the notes, whole or not at all, and to the disk itself before anything is removed."""
        path = _path(settings, subject)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = path.with_suffix(".part")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(self))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


def load(settings: Settings, subject: str) -> Journal | None:
    """Return the notes of an erasure that is not complete, or None."""
    try:
        return msgspec.json.decode(_path(settings, subject).read_bytes(), type=Journal)
    except FileNotFoundError:
        return None


def remove(settings: Settings, subject: str) -> None:
    """Remove the notes of an erasure that is complete."""
    for path in (_path(settings, subject), _path(settings, subject).with_suffix(".part")):
        path.unlink(missing_ok=True)


def _path(settings: Settings, subject: str) -> Path:
    return settings.run_dir / "erasures" / f"{subject}.json"
