"""Contract of a benchmark: what it is given, and what it gives back.

A module `benchmarks/<name>.py` has a docstring whose first line says what it measures, and `run(options) -> Report`.
It starts what it needs in `options.workspace` and never touches the user's home.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct


class Figure(Struct, frozen=True):
    """One number, beside the limit it can be compared with.

    `limit` has the same unit and was measured in the same run; `met` is None when there is no target, or when the
    size was too small to judge it.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    limit_name: str = ""
    target: str = ""
    met: bool | None = None

    @property
    def ratio(self) -> float | None:
        """Return `value` as a share of `limit`."""
        return self.value / self.limit if self.limit else None


class Report(Struct, frozen=True):
    """The findings of one benchmark. `facts` are what a reader needs to judge it: counts, sizes, versions."""

    name: str
    title: str
    figures: list[Figure]
    facts: dict[str, Any] = {}

    @property
    def missed(self) -> list[Figure]:
        """Return the figures that miss their target."""
        return [figure for figure in self.figures if figure.met is False]


@dataclass(frozen=True)
class Options:
    """The options that a benchmark is given. `size` 1.0 is the full measurement; tests use a small part of it.

    `peer`: other tools that a benchmark compares with may be installed into an environment in the workspace.
    """

    workspace: Path
    size: float = 1.0
    peer: bool = False
    progress: Callable[[str], None] = lambda message: None

    def scaled(self, full: float, least: float = 1) -> int:
        """Return `full` at this size, but at least `least`."""
        return max(round(least), round(full * self.size))

    @property
    def judges(self) -> bool:
        """Return whether the size is large enough to hold a figure against its target."""
        return self.size >= 0.5


class Benchmark(Protocol):
    """A benchmark: a module of this package."""

    __doc__: str | None

    def run(self, options: Options) -> Report:
        """Measure, and return the report."""
        ...
