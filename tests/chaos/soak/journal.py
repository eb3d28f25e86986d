"""Causes and what they must produce; what was observed. Both are JSON lines, so that a verdict can be given again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

ALARM, FAILED_RUN, CLOSED_GATE, STATUS = "alarm", "failed run", "closed gate", "unwell status"
KINDS = (ALARM, FAILED_RUN, CLOSED_GATE, STATUS)
CAUSES, OBSERVATIONS = "journal.jsonl", "observations.jsonl"


@dataclass(frozen=True)
class Expected:
    """What a cause produces. `what` is a pattern as in file names (`services_up/*`).

    With `must` it is told once, at most `within` seconds after the cause began. Without, it may be told, at most `within`
    seconds after the cause ended: runs that were under way end badly, and a level takes its window to recover.
    """

    kind: str
    what: str
    within: float
    must: bool = False


@dataclass
class Cause:
    """Something that the soak did. Without `expects` nothing may be told of it."""

    number: int
    name: str
    began: datetime
    ended: datetime | None = None
    detail: str = ""
    expects: list[Expected] = field(default_factory=list)


@dataclass(frozen=True)
class Observation:
    """Something that the platform told: an alarm, a failed run, a closed gate or an unwell status, and of what."""

    kind: str
    what: str
    at: datetime
    detail: str = ""


class Journal:
    """Causes, each written when it begins and again when it has ended: a soak that is killed leaves what it did."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / CAUSES
        self.causes: list[Cause] = []

    def begin(self, name: str, at: datetime, detail: str = "", expects: list[Expected] | None = None) -> Cause:
        """Note a cause before it works."""
        cause = Cause(len(self.causes) + 1, name, at, None, detail, expects or [])
        self.causes.append(cause)
        self._write(cause)
        return cause

    def end(self, cause: Cause, at: datetime, detail: str = "") -> None:
        """Note that a cause is over: a server is back, a destination answers again."""
        cause.ended, cause.detail = at, detail or cause.detail
        self._write(cause)

    def _write(self, cause: Cause) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(_plain(asdict(cause))) + "\n")


def read_causes(folder: Path) -> list[Cause]:
    """The causes of a soak, each as it was written last."""
    found: dict[int, Cause] = {}
    for row in _lines(folder / CAUSES):
        expects = [Expected(**each) for each in row.pop("expects")]
        began, ended = (None if row[name] is None else datetime.fromisoformat(row[name]) for name in ("began", "ended"))
        assert began is not None
        found[row["number"]] = Cause(**row | {"began": began, "ended": ended, "expects": expects})
    return list(found.values())


def read_observations(folder: Path) -> list[Observation]:
    """What was observed, in order."""
    rows = _lines(folder / OBSERVATIONS)
    found = [Observation(**row | {"at": datetime.fromisoformat(row["at"])}) for row in rows]
    return sorted(found, key=lambda each: each.at)


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append rows as JSON lines."""
    with path.open("a") as file:
        for row in rows:
            file.write(json.dumps(_plain(row)) + "\n")


def observed(folder: Path, observation: Observation) -> None:
    """Append one observation."""
    write_lines(folder / OBSERVATIONS, [asdict(observation)])


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        for line in path.read_text().splitlines():
            yield json.loads(line)
