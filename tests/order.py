"""Which file a worker of pytest-xdist takes next: the slowest first, and files that share a costly home on one worker.

`--dist loadfile` hands out the files with the most tests first, and those with one long test last: at the end of a run one
worker is busy for minutes and the other idle. Here the order is written down. A file that is missing in the list is only
less well placed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

SLOWEST_FIRST = (
    "tests/chaos/test_all_at_once.py",
    "tests/privacy/test_erasure.py",
    "tests/chaos/test_soak_planted.py",
    "tests/integration/test_up.py",
    "tests/transformation/test_one_moment.py",
    "tests/integration/test_demo.py",
    "tests/privacy/test_erasure_killed.py",
    "tests/transformation/test_transformation.py",
    "tests/transformation/test_production.py",
    "tests/transformation/test_late_data.py",
    "tests/transformation/test_held_events.py",
    "tests/verification/test_verify.py",
    "tests/privacy/test_hostile.py",
    "tests/platform/test_every_command.py",
    "tests/ingestion/test_stored.py",
    "tests/platform/test_publish.py",
    "tests/ingestion/test_files.py",
    "tests/privacy/test_roles.py",
    "tests/ops/test_audit_log.py",
    "tests/chaos/test_servers_killed.py",
    "tests/chaos/test_ingestion_killed.py",
    "tests/activations/test_flow.py",
)
"""Measured with `--durations=0`; seconds to minutes each."""
ONE_HOME = {
    "tests/verification/test_causes.py": "tests/verification/test_verify.py",  # the history
    "tests/activations/test_explain.py": "tests/activations/test_flow.py",  # the company
}
"""File -> the file whose home it uses too: made once, by the worker that has both."""


def file_of(nodeid: str) -> str:
    """The file of a test."""
    return nodeid.split("::", 1)[0]


def scope_of(nodeid: str) -> str:
    """What one worker takes as a whole: the file of a test, or the file that shares its home."""
    file = file_of(nodeid)
    return ONE_HOME.get(file, file)


def slowest_first(items: list[pytest.Item]) -> None:
    """Sort collected tests in place; the order inside a file stays."""
    ranks = {file: rank for rank, file in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: ranks.get(scope_of(item.nodeid), len(ranks)))


class WholeHomes(LoadScopeScheduling):
    """Hands out files in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def missing(files: Sequence[str]) -> list[str]:
    """Files that the lists name and that are not there."""
    named = {*SLOWEST_FIRST, *ONE_HOME, *ONE_HOME.values()}
    return sorted(named - set(files))
