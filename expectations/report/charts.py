"""Small drawings as inline SVG: no script, readable in light and dark, and by a screen reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from expectations.outcome import Outcome

WIDTH, HEIGHT, MARGIN = 320, 84, 10
LOWEST_FLOOR = 0.9
"""The start of the scale: 90 %, or lower when a run was worse: a fall from 100 to 99 % must be seen."""


@dataclass(frozen=True)
class Point:
    """A point of the trend: the share of checks that held after one run."""

    at: datetime
    rate: float
    outcome: Outcome


def trend(points: Sequence[Point], label: str) -> str:
    """Draw pass rates run by run, a dot coloured by the outcome of each run."""
    floor = min([LOWEST_FLOOR, *(int(point.rate * 10) / 10 for point in points)])
    places = [(_x(number, len(points)), _y(point.rate, floor)) for number, point in enumerate(points)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    area = f"{places[0][0]:.1f},{HEIGHT - MARGIN} {line} {places[-1][0]:.1f},{HEIGHT - MARGIN}" if places else ""
    dots = "".join(
        f'<circle class="{point.outcome}" cx="{x:.1f}" cy="{y:.1f}" r="{4 if number == len(points) - 1 else 2.6}">'
        f"<title>{point.at:%d %b %Y, %H:%M} UTC: {percent(point.rate)} of the checks held</title></circle>"
        for number, ((x, y), point) in enumerate(zip(places, points, strict=True))
    )
    top, bottom = MARGIN, HEIGHT - MARGIN
    return (
        f'<svg class="trend" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'<line class="grid" x1="34" x2="{WIDTH - MARGIN}" y1="{top}" y2="{top}"/>'
        f'<line class="grid" x1="34" x2="{WIDTH - MARGIN}" y1="{bottom}" y2="{bottom}"/>'
        f'<text x="0" y="{top + 4}">100 %</text><text x="0" y="{bottom + 3}">{floor:.0%}</text>'
        f'<polygon class="area" points="{area}"/><polyline points="{line}"/>{dots}</svg>'
    )


def strip(outcomes: Sequence[tuple[Outcome, datetime]]) -> str:
    """Draw the last runs of a table as bars, the newest at the right: the taller, the better."""
    heights = {Outcome.PASS: 14, Outcome.WARN: 9, Outcome.QUARANTINE: 9, Outcome.FAIL: 5, Outcome.ERROR: 5}
    words = {
        Outcome.PASS: "held",
        Outcome.WARN: "warned",
        Outcome.QUARANTINE: "put single rows in quarantine",
        Outcome.FAIL: "failed",
        Outcome.ERROR: "not checked",
    }
    bars = "".join(
        f'<rect class="{outcome}" x="{place * 7}" y="{14 - heights[outcome]}" width="5" rx="1" '
        f'height="{heights[outcome]}">'
        f"<title>{at:%d %b, %H:%M} UTC: {words[outcome]}</title></rect>"
        for place, (outcome, at) in enumerate(outcomes)
    )
    width = max(len(outcomes) * 7, 7)
    said = ", ".join(words[outcome] for outcome, _ in outcomes)
    return (
        f'<svg class="strip" width="{width}" height="14" viewBox="0 0 {width} 14" role="img" '
        f'aria-label="Last runs: {said}">{bars}</svg>'
    )


def percent(rate: float) -> str:
    """Return a share for people; never rounded up to 100 %."""
    if rate >= 1:
        return "100 %"
    return f"{min(rate, 0.999):.1%}".replace("%", " %")


def _x(number: int, count: int) -> float:
    left, right = 40, WIDTH - MARGIN - 4
    return right if count == 1 else left + (right - left) * number / (count - 1)


def _y(rate: float, floor: float) -> float:
    return MARGIN + (HEIGHT - 2 * MARGIN) * (1 - (rate - floor) / (1 - floor))
