"""A line of a few numbers as an SVG: no axis, no library, no text. Only our own digits get into it."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH, HEIGHT, MARGIN = 200.0, 44.0, 3.0


def svg(values: Sequence[float], color: str) -> str:
    """Return the values from left to right, the lowest at the bottom."""
    lowest, highest = min(values), max(values)
    span = (highest - lowest) or 1.0
    step = WIDTH / max(len(values) - 1, 1)
    points = [
        f"{place * step:.1f},{HEIGHT - MARGIN - (value - lowest) / span * (HEIGHT - 2 * MARGIN):.1f}"
        for place, value in enumerate(values)
    ]
    line = " ".join(points)
    size = f'viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" width="{WIDTH:.0f}" height="{HEIGHT:.0f}"'
    area = f'<polygon points="0,{HEIGHT:.0f} {line} {WIDTH:.0f},{HEIGHT:.0f}" fill="{color}" fill-opacity="0.12"/>'
    drawn = (
        f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.8" stroke-linejoin="round" '
        'vector-effect="non-scaling-stroke"/>'
    )
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} preserveAspectRatio="none">{area}{drawn}</svg>'
