"""Dead letters come back when they pass, once, and are closed only with a reason."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from searchflow import warehouse
from searchflow.errors import NotFoundError, UsageError
from searchflow.ingestion import dead_letters, worker
from searchflow.ingestion.accounting import accounting
from searchflow.settings import Settings
from tests import foreign

pytestmark = pytest.mark.integration


def load(settings: Settings, folder: Path, *lines: bytes) -> None:
    (folder / "events.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    worker.ingest_files(settings, folder, clock=lambda: foreign.NOW)


def test_a_letter_that_passes_now_is_stored_once_and_marked(fresh_platform: Settings, tmp_path: Path) -> None:
    early = foreign.line(**foreign.search(1, timestamp=(foreign.NOW + timedelta(hours=1)).isoformat()))
    load(fresh_platform, tmp_path, early, b"nonsense")
    later = foreign.NOW + timedelta(hours=2)
    result = dead_letters.replay(fresh_platform, now=later)
    assert (result.tried, result.stored, result.refused) == (2, 1, 1)
    again = dead_letters.replay(fresh_platform, now=later)
    assert (again.tried, again.stored, again.refused) == (1, 0, 1)
    with warehouse.connect(fresh_platform) as connection:
        assert [(group.reason_code, group.letters) for group in dead_letters.groups(connection)] == [
            ("invalid_json", 1)
        ]
        assert [group.letters for group in dead_letters.groups(connection, "replayed")] == [1]
        assert accounting(connection).holds
        assert connection.execute("SELECT count(*) FROM ops.audit_log").fetchone() == (1,)


def test_discarding_needs_a_reason_and_keeps_the_bytes(fresh_platform: Settings, tmp_path: Path) -> None:
    load(fresh_platform, tmp_path, b"nonsense \x1b[31m")
    with pytest.raises(UsageError, match="Say why"):
        dead_letters.discard(fresh_platform, now=foreign.NOW, why=" ")
    with pytest.raises(NotFoundError, match="invalid_json"):
        dead_letters.discard(fresh_platform, now=foreign.NOW, why="test", reason="invalid_jsn")
    assert dead_letters.discard(fresh_platform, now=foreign.NOW, why="a test of ours", reason="invalid_json") == 1
    with warehouse.connect(fresh_platform) as connection:
        [group] = dead_letters.groups(connection, "discarded")
        letter = dead_letters.show(connection, group.example_id[:8])
    assert bytes(letter["raw_payload"]) == b"nonsense \x1b[31m"
    assert dead_letters.printable(bytes(letter["raw_payload"])) == r"nonsense \x1b[31m"
