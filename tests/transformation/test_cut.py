"""A transformation reads what was committed up to one moment, however busily ingestion goes on beside it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from searchflow.ingestion import cut
from searchflow.settings import Settings

pytestmark = pytest.mark.integration


def clock() -> datetime:
    return datetime.now(UTC)


def test_a_cut_waits_for_commits_under_way_and_later_ones_are_stamped_later(platform: Settings) -> None:
    begun, finish = threading.Event(), threading.Event()
    stamps: dict[str, datetime] = {}

    def slow_commit() -> None:
        with cut.CommitGate(platform) as gate, gate.commit():
            stamps["commit"] = clock()
            begun.set()
            finish.wait(30)
            stamps["visible"] = clock()

    committing = threading.Thread(target=slow_commit)
    committing.start()
    assert begun.wait(30)
    cutting = threading.Thread(target=lambda: stamps.update(cut=cut.take(platform, clock)))
    cutting.start()
    cutting.join(0.5)
    assert cutting.is_alive()  # a commit stamped before the cut is not visible yet
    finish.set()
    cutting.join(30)
    committing.join(30)
    with cut.CommitGate(platform) as gate, gate.commit():
        stamps["next"] = clock()
    assert stamps["commit"] < stamps["visible"] < stamps["cut"] < stamps["next"]


def test_commits_do_not_wait_for_each_other(platform: Settings) -> None:
    with cut.CommitGate(platform) as one, cut.CommitGate(platform) as two, one.commit(), two.commit():
        pass
