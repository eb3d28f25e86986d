"""The geometry of the report's small drawings; `templates/charts.html` draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from expectations.outcome import Outcome

WIDTH, HEIGHT, MARGIN = 320, 84, 10
LOWEST_FLOOR = 0.9
"""The scale starts at 90 %, or lower when a run was worse: a fall from 100 to 99 % must be seen."""
BAR_HEIGHTS = {Outcome.PASS: 14, Outcome.WARN: 9, Outcome.QUARANTINE: 9, Outcome.FAIL: 5, Outcome.ERROR: 5}
BAR_WORDS = {
    Outcome.PASS: "held",
    Outcome.WARN: "warned",
    Outcome.QUARANTINE: "put single rows in quarantine",
    Outcome.FAIL: "failed",
    Outcome.ERROR: "not checked",
}


@dataclass(frozen=True)
class Point:
    """The share of checks that held after one run."""

    at: datetime
    rate: float
    outcome: Outcome


@dataclass(frozen=True)
class Dot:
    """One run of a trend, in the drawing's units."""

    x: str
    y: str
    outcome: Outcome
    title: str


@dataclass(frozen=True)
class Trend:
    """Pass rates run by run: a line, the area under it, and a dot for each run."""

    label: str
    floor: str
    dots: Sequence[Dot]
    width: int = WIDTH
    height: int = HEIGHT
    right: int = WIDTH - MARGIN
    top: int = MARGIN
    bottom: int = HEIGHT - MARGIN

    @property
    def line(self) -> str:
        """The points of the line."""
        return " ".join(f"{dot.x},{dot.y}" for dot in self.dots)

    @property
    def area(self) -> str:
        """The points of the area between the line and the bottom."""
        return f"{self.dots[0].x},{self.bottom} {self.line} {self.dots[-1].x},{self.bottom}"


@dataclass(frozen=True)
class RunBar:
    """One run of a table: the taller, the better."""

    height: int
    outcome: Outcome
    word: str
    title: str


def trend(points: Sequence[Point], label: str) -> Trend:
    """Place the points of at least one run, the oldest at the left."""
    floor = min([LOWEST_FLOOR, *(int(point.rate * 10) / 10 for point in points)])
    dots = [
        Dot(
            f"{_x(number, len(points)):.1f}",
            f"{_y(point.rate, floor):.1f}",
            point.outcome,
            f"{point.at:%d %b %Y, %H:%M} UTC: {percent(point.rate)} of the checks held",
        )
        for number, point in enumerate(points)
    ]
    return Trend(label, f"{floor:.0%}", dots)


def bars(outcomes: Sequence[tuple[Outcome, datetime]]) -> list[RunBar]:
    """Turn the last runs of a table into bars, the newest at the right."""
    return [
        RunBar(BAR_HEIGHTS[outcome], outcome, BAR_WORDS[outcome], f"{at:%d %b, %H:%M} UTC: {BAR_WORDS[outcome]}")
        for outcome, at in outcomes
    ]


def percent(rate: float) -> str:
    """Write a share for people; never rounded up to 100 %."""
    if rate >= 1:
        return "100 %"
    return f"{min(rate, 0.999):.1%}".replace("%", " %")


def _x(number: int, count: int) -> float:
    left, right = 40, WIDTH - MARGIN - 4
    return right if count == 1 else left + (right - left) * number / (count - 1)


def _y(rate: float, floor: float) -> float:
    return MARGIN + (HEIGHT - 2 * MARGIN) * (1 - (rate - floor) / (1 - floor))
