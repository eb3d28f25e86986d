"""The verdict: findings, and an exit status. No finding: every alarm was true, nothing was lost, nothing grew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from tests.chaos.soak.journal import ALARM, Cause, Observation
from tests.chaos.soak.matching import Matched, match

RECOVERED = "recovery"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and the rule that says so."""

    rule: str
    text: str


@dataclass(frozen=True)
class Notices:
    """Ids of what monitoring noted, by way: in its table, at the webhook's receiver (each delivery), as Prefect events."""

    noted: tuple[str, ...] = ()
    received: tuple[str, ...] = ()
    events: tuple[str, ...] = ()


def told(causes: Sequence[Cause], observations: Sequence[Observation], end: datetime) -> tuple[Matched, list[Finding]]:
    """Match what was told with what was done, and say what does not fit."""
    breaches = [each for each in observations if each.kind != RECOVERED]
    matched = match(causes, breaches, end)
    return matched, [*_unmatched(matched), *_untold(matched), *_recoveries(observations)]


def _unmatched(matched: Matched) -> Iterator[Finding]:
    for each in matched.unmatched:
        yield Finding(f"{each.kind} without a cause", f"{each.what} at {each.at:%d %H:%M:%S}: {each.detail[:300]}")


def _untold(matched: Matched) -> Iterator[Finding]:
    for cause, expected in matched.untold:
        yield Finding(
            f"{expected.kind} that was not told",
            f"{cause.name} at {cause.began:%d %H:%M:%S}: {expected.what} within {expected.within:.0f} s",
        )
    for cause, expected, count in matched.twice:
        yield Finding("alarm told twice", f"{cause.name} at {cause.began:%d %H:%M:%S}: {expected.what}, {count} times")


def _recoveries(observations: Sequence[Observation]) -> Iterator[Finding]:
    """A level recovers from a breach that was told, once."""
    broken: set[str] = set()
    for each in sorted(observations, key=lambda each: each.at):
        if each.kind == ALARM:
            broken.add(each.what)
        elif each.kind == RECOVERED and each.what not in broken:
            yield Finding("recovery without a breach", f"{each.what} at {each.at:%d %H:%M:%S}")
        elif each.kind == RECOVERED:
            broken.discard(each.what)


def notices(found: Notices) -> Iterator[Finding]:
    """Each notice arrived on every way, once."""
    for way, ids in (("webhook", found.received), ("Prefect event", found.events)):
        missing = set(found.noted) - set(ids)
        if missing:
            yield Finding("alarm muted", f"{len(missing)} notices did not arrive as {way}, for example {min(missing)}")
        invented = set(ids) - set(found.noted)
        if invented:
            yield Finding("alarm that was not noted", f"{len(invented)} arrived as {way} that monitoring had not noted")
        again = [name for name, count in Counter(ids).items() if count > 1]
        if again:
            yield Finding("alarm told twice", f"{len(again)} notices came twice as {way}, for example {again[0]}")
