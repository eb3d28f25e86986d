"""A small writer of charts: bars for what was made, dots for what is configured. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 64, 44
MADE, CONFIGURED, INK, FAINT = "#4c78a8", "#d9541e", "#1f2933", "#d9dee4"


def chart(
    title: str, note: str, labels: Sequence[str], made: Sequence[float], wanted: Sequence[float], unit: str = ""
) -> str:
    """Return an SVG document: one bar and one dot for each label."""
    gap = _round_step(max(*made, *wanted) * 1.04 / 4)
    most = 4 * gap
    step = (WIDTH - LEFT - RIGHT) / len(labels)
    height = HEIGHT - TOP - BOTTOM
    parts = [_text(LEFT, 24, title, size=16, weight="600"), _text(LEFT, 42, note, colour="#52606d")]
    parts += _legend()
    for tick in range(5):
        value = gap * tick
        y = TOP + height * (1 - tick / 4)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{FAINT}"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{value:,.4g}{unit}", anchor="end", colour="#52606d"))
    every = -(-len(labels) * 34 // (WIDTH - LEFT - RIGHT)) if max(map(len, labels)) < 6 else 1
    points = []
    for index, (label, one, other) in enumerate(zip(labels, made, wanted, strict=True)):
        x, bar = LEFT + index * step, height * one / most
        parts.append(
            f'<rect x="{x + step * 0.14:.1f}" y="{TOP + height - bar:.1f}" width="{step * 0.72:.1f}" '
            f'height="{bar:.1f}" fill="{MADE}" fill-opacity="0.75"/>'
        )
        points.append(f"{x + step / 2:.1f},{TOP + height * (1 - other / most):.1f}")
        if index % every == 0:
            parts.append(_text(x + step / 2, HEIGHT - BOTTOM + 18, label, anchor="middle", colour="#52606d"))
    if len(labels) > 12:
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{CONFIGURED}" stroke-width="1.5"/>')
    if len(labels) < 60:
        parts += [
            f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="3.5" fill="{CONFIGURED}"/>' for p in points
        ]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="system-ui, sans-serif" role="img" aria-label="{escape(title)}">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _round_step(least: float) -> float:
    """Return the smallest step of 1, 1.5, 2, 2.5, 3, 4, 5 or 8 tens, ones, tenths … that is not below `least`."""
    power = 10 ** math.floor(math.log10(least or 1.0))
    return next(step * power for step in (1, 1.5, 2, 2.5, 3, 4, 5, 8, 10) if step * power >= least)


def _legend() -> list[str]:
    right = WIDTH - RIGHT
    return [
        f'<rect x="{right - 150}" y="15" width="10" height="10" fill="{MADE}" fill-opacity="0.75"/>',
        _text(right - 136, 24, "made"),
        f'<circle cx="{right - 84}" cy="20" r="4" fill="{CONFIGURED}"/>',
        _text(right - 76, 24, "configured"),
    ]


def _text(
    x: float, y: float, text: str, *, size: int = 11, anchor: str = "start", colour: str = INK, weight: str = "400"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="{colour}">{escape(text)}</text>'
    )
