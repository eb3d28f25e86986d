"""The outcome of a soak, as Markdown for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.soak.journal import ALARM, KINDS, Cause
from tests.chaos.soak.matching import Matched
from tests.chaos.soak.verdict import Finding


@dataclass
class Outcome:
    """What a soak did and found."""

    minutes: float
    seed: int
    days: int
    causes: Sequence[Cause] = field(default_factory=list)
    matched: Matched = field(default_factory=Matched)
    findings: list[Finding] = field(default_factory=list)
    lines: int = 0
    mails: int = 0
    looks: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    quarters: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def text(outcome: Outcome) -> str:
    """All of it."""
    return "\n".join(_parts(outcome)) + "\n"


def _parts(outcome: Outcome) -> Iterator[str]:
    word = "no finding" if not outcome.findings else f"{len(outcome.findings)} findings"
    yield f"# Soak of {outcome.minutes:g} minutes, {outcome.days} days played, seed {outcome.seed}: {word}\n"
    yield f"{outcome.lines:,} lines sent, {outcome.mails} mails taken, {outcome.looks} looks at `status`.\n"
    yield "| told | with a cause | without |"
    yield "|---|---|---|"
    for kind in KINDS:
        with_cause = sum(observation.kind == kind for observation, _ in outcome.matched.pairs)
        without = sum(observation.kind == kind for observation in outcome.matched.unmatched)
        yield f"| {kind} | {with_cause} | {without} |"
    yield ""
    yield from _causes(outcome)
    yield "| figure | second quarter | last quarter |"
    yield "|---|---|---|"
    for name, (second, last) in outcome.quarters.items():
        yield f"| {name} | {second:.1f} | {last:.1f} |"
    yield ""
    yield "Seconds: " + ", ".join(f"{name} {seconds:g}" for name, seconds in outcome.seconds.items()) + "\n"
    for finding in outcome.findings:
        yield f"- **{finding.rule}**: {finding.text}"


def _causes(outcome: Outcome) -> Iterator[str]:
    told = Counter((cause.number, observation.kind) for observation, cause in outcome.matched.pairs)
    alarms: dict[int, set[str]] = {}
    for observation, cause in outcome.matched.pairs:
        if observation.kind == ALARM:
            alarms.setdefault(cause.number, set()).add(observation.what)
    yield "| cause | at | must be told | was told |"
    yield "|---|---|---|---|"
    for cause in outcome.causes:
        must = ", ".join(f"{each.kind} {each.what}" for each in cause.expects if each.must) or "nothing"
        was = [f"{count} × {kind}" for (number, kind), count in sorted(told.items()) if number == cause.number]
        was += sorted(alarms.get(cause.number, ()))
        yield f"| {cause.name} {cause.detail} | {cause.began:%d %H:%M:%S} | {must} | {', '.join(was) or 'nothing'} |"
    yield ""
