"""All rules on all evidence, in one place: what a soak calls at its end, and what each planted fault must not pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from searchflow import warehouse
from searchflow.settings import Settings
from tests.chaos.soak import books, resources, truth, verdict
from tests.chaos.soak.books import Books
from tests.chaos.soak.journal import Cause, Observation
from tests.chaos.soak.matching import Matched
from tests.chaos.soak.resources import Sample
from tests.chaos.soak.truth import Mail
from tests.chaos.soak.verdict import Finding, Notices


@dataclass
class Evidence:
    """What was done, what was told, what was measured, and the homes as they stand. `rebuilt` was made from raw."""

    settings: Settings
    rebuilt: Settings
    folder: Path
    books: Books
    causes: Sequence[Cause]
    observations: Sequence[Observation]
    end: datetime
    notices: Notices
    mails: Sequence[Mail] = ()
    samples: Sequence[Sample] = ()
    parts: Sequence[tuple[float, float]] = ()
    matched: Matched = field(default_factory=Matched)


def findings(evidence: Evidence) -> Iterator[Finding]:
    """Every finding. None: the soak ends with exit status 0."""
    evidence.matched, told = verdict.told(evidence.causes, evidence.observations, evidence.end)
    yield from told
    yield from verdict.notices(evidence.notices)
    yield from resources.bounded(evidence.samples, evidence.parts)
    with warehouse.connect(evidence.settings, read_only=True) as connection:
        yield from books.balance(connection, evidence.books)
    yield from truth.same_marts(evidence.settings, evidence.rebuilt, evidence.folder)
    yield from truth.destinations(evidence.settings)
    yield from truth.post(evidence.mails)


def exit_status(found: Sequence[Finding]) -> int:
    """Of the soak."""
    return 1 if found else 0
