"""The trust stamp of a tile: data as of, how final, what the quality gate said, rows in quarantine, next refresh.

A short line stands under every number and chart; its hover says all of it in sentences. A gate that failed for one of
the tables a tile reads, or for one that those are made from, is told on that tile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from dashboards import definitions, formats
from dashboards.queries.trust import CRITICAL, SuiteOutcome, ToCome

COMPLETE = 0.9995
"""The share of a day from which it is rounded to 100.0 %, and not worth a word."""


@dataclass(frozen=True)
class Stamp:
    """The text that one tile says about itself: Markdown for its line (short for narrow tiles) and for its hover."""

    short: str
    line: str
    details: str
    failed: bool


@dataclass(frozen=True)
class Trust:
    """The facts that are known about the tables of a page, at one moment."""

    now: datetime
    outcomes: Sequence[SuiteOutcome]
    made: Mapping[str, datetime]
    held: Mapping[str, int]
    letters: int
    last_day: date | None = None
    finality: float | None = None
    next_refresh: datetime | None = None
    to_come: ToCome | None = None
    _suites: dict[str, SuiteOutcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._suites.update({outcome.suite: outcome for outcome in self.outcomes})

    def gates(self, tables: Sequence[str]) -> tuple[list[SuiteOutcome], list[SuiteOutcome]]:
        """Return the newest outcome of these tables' own suites, and of those of the tables they are made from."""
        above = sorted(set().union(*(definitions.upstream(table) for table in tables)) - set(tables))
        return self._of(tables), self._of(above)

    def _of(self, tables: Sequence[str]) -> list[SuiteOutcome]:
        return [self._suites[table] for table in tables if table in self._suites]

    def stamp(self, *tables: str) -> Stamp:
        """Return the stamp of a tile that reads these tables."""
        own, above = self.gates(tables)
        mark, said = _gate(own, above, tables)
        failed = mark == "✕"
        made = [self.made[table] for table in tables if table in self.made]
        as_of = f"as of {self._clock(min(made))}" if made else "read live"
        final = self._final() if made else None
        held = sum(self.held.get(table, 0) for table in tables)
        coming = self._coming()
        gate = f":red[**✕ {said}**]" if failed else mark if mark in ("✓", "") else f"{mark} {said}"
        parts = [f"{gate} {as_of}".strip(), final, f"{held:,} in quarantine" if own else None, coming if made else None]
        return Stamp(
            short=" · ".join(part for part in (parts[0], final and final.split(" ")[-2] + " in") if part),
            line=" · ".join(part for part in parts if part),
            details="  \n".join(self._sentences(tables, own, above, made, held)),
            failed=failed,
        )

    def _clock(self, moment: datetime) -> str:
        shown = f"{moment:%H:%M} UTC"
        return shown if moment.date() == self.now.date() else f"{formats.day(moment.date())}, {shown}"

    def _final(self) -> str | None:
        if self.finality is None or self.last_day is None:
            return None
        share = formats.percent(self.finality) if self.finality < COMPLETE else "100%"
        return f"{self.last_day.day} {self.last_day:%b} {share} in"

    def _still_to_come(self) -> str:
        """Return how far the days can still move."""
        if self.to_come is None:
            return ""
        more = self.to_come
        return (
            f"; for all days shown about {formats.plural(round(more.searches), 'search', 'searches')}, "
            f"{formats.plural(round(more.conversions), 'booking')} and {formats.money(more.revenue)} "
            "are still to come"
        ).replace("$", "\\$")

    def _coming(self) -> str | None:
        return f"next {self.next_refresh:%H:%M}" if self.next_refresh else None

    def _sentences(
        self,
        tables: Sequence[str],
        own: Sequence[SuiteOutcome],
        above: Sequence[SuiteOutcome],
        made: Sequence[datetime],
        held: int,
    ) -> list[str]:
        names = formats.plain(formats.listed(tables)) or "the server that knows"
        if made:
            said = [f"**Data as of** {formats.moment(min(made))}, {formats.age(self.now - min(made))} ({names})"]
        else:
            said = [f"**Read live** from {names}"]
        if self.finality is not None and self.last_day is not None and made:
            said.append(
                f"**How final** {formats.day(self.last_day)} has {formats.percent(min(self.finality, 1))} "
                f"of the events expected for it{self._still_to_come()}"
            )
        said.append(f"**Gate** {_gate_sentence(own, above, self.now)}")
        said.append(
            f"**In quarantine** {formats.plural(held, 'row')} of these tables; "
            f"{formats.plural(self.letters, 'open dead letter')}"
        )
        if self.next_refresh:
            said.append(f"**Next refresh** {formats.moment(self.next_refresh)}")
        else:
            said.append("**Next refresh** no schedule is running: `searchflow up` starts it")
        return said


def _gate(own: Sequence[SuiteOutcome], above: Sequence[SuiteOutcome], tables: Sequence[str]) -> tuple[str, str]:
    """Return a mark that needs no colour, and two or three words."""
    if any(suite.outcome in CRITICAL for suite in own):
        return "✕", "gate failed"
    if any(suite.outcome in CRITICAL for suite in above):
        return "✕", "a gate before it failed"
    if not own:  # the platform's own notes about itself have no gate
        return ("", "") if all(table.startswith("ops.") for table in tables) else ("?", "not checked")
    if any(suite.outcome == "warn" for suite in own):
        return "!", "warnings"
    return "✓", "gate passed"


def _gate_sentence(own: Sequence[SuiteOutcome], above: Sequence[SuiteOutcome], now: datetime) -> str:
    broken = [suite.suite for suite in (*own, *above) if suite.outcome in CRITICAL]
    if broken:
        return f"failed for {formats.plain(formats.listed(broken))}: this number may be wrong"
    if not own:
        return "not checked: `searchflow validate` runs the checks"
    checks = sum(suite.checks for suite in own)
    warned = sum(suite.warned for suite in own)
    when = formats.age(now - max(suite.checked_at for suite in own))
    tail = f", {formats.plural(warned, 'warning')}" if warned else ""
    return f"{formats.plural(checks, 'check')} {when}{tail}, and {formats.plural(len(above), 'gate')} before it, passed"
