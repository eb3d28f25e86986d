"""All suites, found by their files: `expectations/<schema>/<table>.py` holds `SUITE` for `<schema>.<table>`.

An event type whose raw table has no file has the suite that follows from its declaration.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from expectations.events import suite_of
from expectations.suite import Suite
from searchflow.errors import NotFoundError
from searchflow.event_types import EVENT_TYPES

SCHEMAS = ("raw", "ops", "marts", "activation")
GROUPS = ("raw", "marts", "activation")
"""The gates, in the order of the data's way: before modelling, before showing, before sending."""
ALL = "all"


@cache
def _suites() -> tuple[Suite, ...]:
    found = []
    for schema in SCHEMAS:
        package = importlib.import_module(f"expectations.{schema}")
        for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda entry: entry.name):
            suite: Suite = importlib.import_module(f"{package.__name__}.{module.name}").SUITE
            if suite.table != f"{schema}.{module.name}":
                raise ValueError(f"{package.__name__}.{module.name} holds the suite of {suite.table}. Rename one.")
            found.append(suite)
    named = {suite.table for suite in found}
    found += [suite_of(each) for each in EVENT_TYPES.values() if each.raw_table not in named]
    return tuple(sorted(found, key=lambda suite: GROUPS.index(suite.group)))


def suite_names() -> list[str]:
    """Return the name of every suite, raw first."""
    return [suite.name for suite in _suites()]


def load_suites(selection: str = ALL) -> list[Suite]:
    """Return the suites of a group (`raw`, `marts`, `activation`, `all`), or one by its table.

    Raises:
        NotFoundError: there is no such group or suite.
    """
    chosen = [suite for suite in _suites() if selection in (ALL, suite.group, suite.name)]
    if not chosen:
        raise NotFoundError("suite", selection, [ALL, *GROUPS, *suite_names()])
    return chosen
