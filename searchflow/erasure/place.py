"""The contract of a place: it tells what it holds of a person, and removes that."""

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
    """The number of rows, entries or files about a person in one part of a place."""

    place: str
    what: str
    count: int


@dataclass
class Job:
    """One erasure: the person, the time of its start, and what was done besides removing (such as files rewritten)."""

    settings: Settings
    erasure_id: str
    person: Person
    now: datetime
    facts: dict[str, int] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    """What others must erase, in sentences."""

    @cached_property
    def terms(self) -> Terms:
        """The identifiers to look for."""
        return Terms(self.person)

    def count(self, fact: str, number: int) -> None:
        """Add a number to a fact of the certificate."""
        self.facts[fact] = self.facts.get(fact, 0) + number


class Place(Protocol):
    """A place that may hold a person. Both methods may be called again at any time."""

    name: str

    def search(self, job: Job) -> list[Finding]:
        """Return what the place holds of the person; leave out parts that hold nothing."""
        ...

    def erase(self, job: Job) -> None:
        """Remove what the place holds of the person."""
        ...
