"""The contract of a place: it says what it holds of a person, and lets go of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Protocol

import msgspec

from searchflow.erasure.person import Person
from searchflow.erasure.terms import Terms
from searchflow.settings import Settings


class Finding(msgspec.Struct, frozen=True):
    """So much of a person is there: rows, entries, files."""

    place: str
    what: str
    count: int


@dataclass
class Job:
    """One erasure: whom, since when, and what was done besides removing (files rewritten, snapshots expired)."""

    settings: Settings
    erasure_id: str
    person: Person
    now: datetime
    facts: dict[str, int] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    """What is not ours to erase, in sentences."""

    @cached_property
    def terms(self) -> Terms:
        """What to look for."""
        return Terms(self.person)

    def count(self, fact: str, number: int) -> None:
        """Add to a fact."""
        self.facts[fact] = self.facts.get(fact, 0) + number


class Place(Protocol):
    """Somewhere a person may be. Both may be called again at any time."""

    name: str

    def search(self, job: Job) -> list[Finding]:
        """What is there; nothing that is not."""
        ...

    def erase(self, job: Job) -> None:
        """Remove it."""
        ...
