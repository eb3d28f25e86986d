"""Registry of the benchmarks: every module of this package but those that benchmarks share."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import cast

import benchmarks
from benchmarks.report import Benchmark
from searchflow.errors import NotFoundError

SHARED = frozenset({"history", "marts", "report", "registry", "support"})


def names() -> list[str]:
    """Return the names of all benchmarks, without importing them."""
    found = pkgutil.iter_modules(benchmarks.__path__)
    return sorted(module.name for module in found if not module.ispkg and module.name not in SHARED)


def load(name: str) -> Benchmark:
    """Return the benchmark called `name`.

    Raises:
        NotFoundError: there is none.
    """
    if name not in names():
        raise NotFoundError("benchmark", name, names())
    return cast(Benchmark, import_module(f"benchmarks.{name}"))


def title(benchmark: Benchmark) -> str:
    """Return what a benchmark measures: the first line of its docstring."""
    return (benchmark.__doc__ or "").strip().partition("\n")[0]
