"""Dead letters come back when they pass, once, even when a process is killed; they are closed only with a reason."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from searchflow import warehouse
from searchflow.errors import NotFoundError, UsageError
from searchflow.ingestion import commit, worker
from searchflow.ingestion.accounting import accounting
from searchflow.ingestion.dead_letters import closing, fixes, letters
from searchflow.ingestion.dead_letters import replay as replaying
from searchflow.ingestion.dead_letters.letters import Selection
from searchflow.ops import audit_log
from searchflow.settings import Settings
from tests import foreign

pytestmark = pytest.mark.integration

LATER = foreign.NOW + timedelta(hours=2)
EARLY = (foreign.NOW + timedelta(hours=1)).isoformat()
"""In the future when it is received, and no longer at LATER."""


def load(settings: Settings, folder: Path, *lines: bytes, now: datetime = foreign.NOW, name: str = "events") -> None:
    (folder / f"{name}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    worker.ingest_files(settings, folder, clock=lambda: now)


def replay(settings: Settings, selection: Selection | None = None, **options: Any) -> replaying.ReplayResult:
    return replaying.replay(settings, selection or Selection(), clock=lambda: LATER, actor="zoe", **options)


def fetch(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with warehouse.connect(settings, read_only=True) as connection:
        return connection.execute(query).fetchall()


def early(*numbers: int) -> list[bytes]:
    return [foreign.line(**foreign.search(number, timestamp=EARLY)) for number in numbers]


def test_a_letter_that_passes_now_is_stored_once_and_marked(fresh_platform: Settings, tmp_path: Path) -> None:
    load(fresh_platform, tmp_path, *early(1), b"nonsense")
    result = replay(fresh_platform)
    assert (result.tried, result.stored, dict(result.refused)) == (2, 1, {"invalid_json": 1})
    again = replay(fresh_platform)
    assert (again.tried, again.stored, dict(again.refused)) == (1, 0, {"invalid_json": 1})
    with warehouse.connect(fresh_platform) as connection:
        assert [(group.reason_code, group.letters) for group in letters.groups(connection)] == [("invalid_json", 1)]
        assert [group.letters for group in letters.groups(connection, Selection("replayed"))] == [1]
        assert accounting(connection).holds
    marked = "SELECT resolved_at, resolved_by, resolution FROM raw.dead_letters WHERE status = 'replayed'"
    assert fetch(fresh_platform, marked) == [(LATER.replace(tzinfo=None), "zoe", "unchanged")]


def test_a_replay_writes_its_batch_lateness_and_new_fields_like_any_commit(
    fresh_platform: Settings, tmp_path: Path
) -> None:
    load(fresh_platform, tmp_path, foreign.line(**foreign.search(1)))
    old = "2026-05-01T09:00:00+00:00"
    load(fresh_platform, tmp_path, foreign.line(**foreign.search(2, timestamp=old, page="2", loyalty=7)), name="old")
    fix = fixes.load("cast_field", {"field": "page", "to": "integer"})
    assert replay(fresh_platform, fix=fix).days == {datetime.fromisoformat(old).date()}
    bounds = "SELECT first_event_ts, last_event_ts, late FROM ops.ingestion_batches WHERE shard = 'replay'"
    moment = datetime.fromisoformat(old).replace(tzinfo=None)
    assert fetch(fresh_platform, bounds) == [(moment, moment, 1)]
    assert fetch(fresh_platform, "SELECT event_date, events FROM ops.late_days") == [(moment.date(), 1)]
    assert fetch(fresh_platform, "SELECT field, source FROM ops.schema_changes") == [("loyalty", "dead_letters")]


def test_duplicates_of_what_is_stored_are_closed_and_conflicts_stay_open(
    fresh_platform: Settings, tmp_path: Path
) -> None:
    stored = foreign.search(1, timestamp=foreign.NOW.isoformat())
    load(fresh_platform, tmp_path, foreign.line(**stored))
    same, other = {**stored, "page": "1", "query": "x"}, {**stored, "page": "1", "query": "other"}
    twice = foreign.search(2, timestamp=foreign.NOW.isoformat(), page="1", query="x")
    load(fresh_platform, tmp_path, *(foreign.line(**each) for each in (same, other, twice, twice)), name="broken")
    fixed = fixes.load("drop_field", {"field": "page"})
    with warehouse.connect(fresh_platform) as connection:
        connection.execute("UPDATE raw.search_events SET payload = replace(payload, 'hotels in Lisbon', 'x')")
    result = replay(fresh_platform, fix=fixed)
    assert (result.stored, result.duplicates, dict(result.refused)) == (1, 2, {"conflicting_duplicate": 1})


def test_a_selection_takes_reason_type_source_time_and_ids_together(fresh_platform: Settings, tmp_path: Path) -> None:
    lines = [*early(1, 2), foreign.line(**foreign.click(1, search_event_id=...)), b"nonsense"]
    load(fresh_platform, tmp_path, *lines)
    load(fresh_platform, tmp_path, *early(3), now=foreign.NOW + timedelta(minutes=1), name="second")
    with warehouse.connect(fresh_platform, read_only=True) as connection:

        def found(**conditions: Any) -> int:
            return len(letters.ids(connection, Selection(**conditions)))

        assert (found(), found(reason="timestamp_in_future"), found(event_type="click")) == (5, 3, 1)
        assert (found(source="file:second"), found(source="searchflow:")) == (1, 0)
        border = foreign.NOW + timedelta(minutes=1)
        assert (found(since=border), found(until=border), found(since=border, until=border)) == (1, 4, 0)
        some = letters.ids(connection, Selection(reason="timestamp_in_future"))
        assert found(ids=(some[0], some[2][:12])) == 2
        assert found(ids=(some[0],), event_type="click") == 0
        [group] = letters.groups(connection, Selection(reason="timestamp_in_future"))
    assert (group.letters, group.last_received - group.first_received) == (3, timedelta(minutes=1))
    with pytest.raises(NotFoundError, match="invalid_json"):
        Selection(reason="invalid_jsn")


def test_a_dry_run_shows_before_and_after_and_writes_nothing_to_the_lake(
    fresh_platform: Settings, tmp_path: Path
) -> None:
    broken = foreign.line(**foreign.search(1, results_count="12"))
    load(fresh_platform, tmp_path, broken, b"nonsense")
    fix = fixes.load("cast_field", {"field": "results_count", "to": "integer"})
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        snapshot = warehouse.snapshot_id(connection)
        result, [first, second] = replaying.dry_run(fresh_platform, Selection(), clock=lambda: LATER, fix=fix)
        assert warehouse.snapshot_id(connection) == snapshot
    assert (result.stored, dict(result.refused)) == (1, {"invalid_json": 1})
    assert (first.before, json.loads(first.after)["results_count"]) == (broken, 12)
    assert first.verdict == "would be stored"
    assert (second.before, second.after) == (b"nonsense", b"nonsense")
    assert second.verdict.startswith("still refused, invalid_json: ")
    real = replay(fresh_platform, fix=fix)
    assert (real.stored, real.refused) == (result.stored, result.refused)
    payload = fetch(fresh_platform, "SELECT payload ->> '$.results_count' FROM raw.search_events")
    assert payload == [("12",)]
    resolution = fetch(fresh_platform, "SELECT resolution FROM raw.dead_letters WHERE status = 'replayed'")
    assert resolution == [("cast_field(field='results_count', to='integer')",)]


def test_every_change_is_in_the_audit_log_in_its_own_transaction(fresh_platform: Settings, tmp_path: Path) -> None:
    load(fresh_platform, tmp_path, *early(1), b"nonsense")
    replay(fresh_platform, Selection(reason="timestamp_in_future"))
    closing.discard(fresh_platform, Selection(), why="a test of ours", clock=lambda: LATER, actor="zoe")
    entries = audit_log.show(fresh_platform, object="raw.dead_letters", action="write")
    details = [entry["detail"].partition(": ")[2] for entry in entries]
    assert details[:2] == ["1 dead letters discarded (all): a test of ours", "1 dead letters replayed without a fix"]
    replaying.dry_run(fresh_platform, Selection("discarded"), clock=lambda: LATER)
    assert audit_log.show(fresh_platform, action="read")[0]["detail"] == "1 dead letters tried without a fix"
    audit_log.verify(fresh_platform)


def test_discarding_needs_a_reason_and_keeps_the_bytes(fresh_platform: Settings, tmp_path: Path) -> None:
    load(fresh_platform, tmp_path, b"nonsense \x1b[31m")
    with pytest.raises(UsageError, match="Say why"):
        closing.discard(fresh_platform, Selection(), why=" ", clock=lambda: LATER, actor="zoe")
    chosen = Selection(reason="invalid_json")
    assert closing.discard(fresh_platform, chosen, why="a test of ours", clock=lambda: LATER, actor="zoe") == 1
    with warehouse.connect(fresh_platform) as connection:
        [group] = letters.groups(connection, Selection("discarded"))
        letter = letters.show(connection, group.example_id[:8])
    assert (letter["resolved_by"], letter["resolution"]) == ("zoe", "a test of ours")
    assert bytes(letter["raw_payload"]) == b"nonsense \x1b[31m"
    assert letters.printable(bytes(letter["raw_payload"])) == r"nonsense \x1b[31m"


def in_a_process(work: Callable[[], object]) -> int:
    """Fork: the child does the work and ends without cleaning up."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)


def exit_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("step", ["before the rows", "before the marks", "after a commit"])
def test_a_replay_killed_in_the_middle_is_finished_by_the_next_one(
    fresh_platform: Settings, tmp_path: Path, step: str
) -> None:
    load(fresh_platform, tmp_path, *early(*range(1, 41)))

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def killed() -> None:
        if step == "before the rows":
            commit.insert = die  # type: ignore[assignment]
        elif step == "before the marks":
            closing.mark = die
        replay(fresh_platform, commit_letters=10, on_commit=die if step == "after a commit" else None)

    assert exit_of(in_a_process(killed)) == -signal.SIGKILL
    stored = [(10,)] if step == "after a commit" else [(0,)]
    assert fetch(fresh_platform, "SELECT count(*) FROM raw.search_events") == stored
    assert fetch(fresh_platform, "SELECT count(*) FROM raw.dead_letters WHERE status = 'replayed'") == stored
    replay(fresh_platform, commit_letters=10)
    counts = "SELECT count(*), count(DISTINCT event_id) FROM raw.search_events"
    assert fetch(fresh_platform, counts) == [(40, 40)]
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        assert accounting(connection).holds


def test_two_replays_and_a_discard_at_once_store_each_letter_at_most_once(
    fresh_platform: Settings, tmp_path: Path
) -> None:
    load(fresh_platform, tmp_path, *early(*range(1, 81)))
    fix = fixes.load("set_default", {"field": "platform", "value": "web"})
    discarded = letters.Selection(source="file:")
    children = [
        in_a_process(lambda: replay(fresh_platform, commit_letters=10)),
        in_a_process(lambda: replay(fresh_platform, commit_letters=16, fix=fix)),
        in_a_process(
            lambda: closing.discard(fresh_platform, discarded, why="a test", clock=lambda: LATER, actor="ann")
        ),
    ]
    assert [exit_of(child) for child in children] == [0, 0, 0]
    by_status = dict(fetch(fresh_platform, "SELECT status, count(*) FROM raw.dead_letters GROUP BY ALL"))
    counts = "SELECT count(*), count(DISTINCT event_id), count(DISTINCT source_position) FROM raw.search_events"
    [(stored, events, places)] = fetch(fresh_platform, counts)
    assert stored == events == places == by_status.get("replayed", 0)
    assert sum(by_status.values()) == 80
    assert by_status.get("open", 0) == 0
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        assert accounting(connection).holds
