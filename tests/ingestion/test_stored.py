"""Events that are stored already are found whichever worker stored them, and whenever the batch was looked up."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import redis

from searchflow import streams, warehouse
from searchflow.erasure import lake, person
from searchflow.erasure.place import Job
from searchflow.ingestion import checks, cut, ingest_lines, next_offset, positions, tombstones, worker
from searchflow.ingestion.accounting import accounting
from searchflow.ingestion.commit import Counts, commit
from searchflow.ingestion.dead_letters import replay as replaying
from searchflow.ingestion.dead_letters.letters import Selection
from searchflow.ingestion.source import SourceBatch
from searchflow.ingestion.stored import KnownEvents, Looks, LooksAhead
from searchflow.ingestion.stream_source import StreamSource
from searchflow.settings import Settings
from tests import foreign

pytestmark = pytest.mark.integration

LATER = foreign.NOW + timedelta(hours=2)
EARLY = (foreign.NOW + timedelta(hours=1)).isoformat()
"""In the future at NOW, and no longer at LATER."""
Read = tuple[SourceBatch, checks.PreparedBatch]
Line = tuple[int, str]
"""An event as these tests name it: number of its id, and the query that makes its document."""


def line(number: int, query: str = "hotels", **changes: Any) -> bytes:
    return foreign.line(**foreign.search(number, query=query, **changes))


class Steps:
    """A worker of the search stream, one step at a time: what `worker.drain` does, in the order that a test wants."""

    def __init__(self, settings: Settings, connection: duckdb.DuckDBPyConnection, shard: int = 0) -> None:
        self.settings, self.connection = settings, connection
        self.client: redis.Redis = streams.connect(settings)
        self.source = StreamSource(self.client, "search", shard)
        self.known, self.ahead, self.gate = KnownEvents(), LooksAhead(connection), cut.CommitGate(settings)
        self.limits = worker.limits_of(settings)
        self.read_to: str | None = None
        self.after: str | None = None

    def read(self, *lines: bytes) -> Read:
        """Publish lines as one entry, and read them as the next batch."""
        self.client.xadd(self.source.name, {"data": b"\n".join(lines)})
        batch = self.source.read(self.read_to, limit=10_000)
        assert batch is not None
        self.read_to = batch.position
        return batch, checks.prepare(self.connection, batch, "search", LATER, self.limits)

    def look(self, read: Read, before: Read | None = None) -> Looks:
        return self.ahead.look(read[1], None if before is None else before[1])

    def commit(self, read: Read, looks: Looks) -> Counts:
        batch, prepared = read
        self.known.looked(looks)
        with self.gate.commit(["search"]):
            counts = commit(
                self.connection,
                self.source,
                batch,
                after=self.after,
                now=foreign.NOW,
                limits=self.limits,
                prepared=prepared,
                erased=self.gate.tombstones(),
                known=self.known,
            )
        self.after = batch.position
        return replace(counts, late=0)  # not what these tests are about

    def store(self, *lines: bytes) -> Counts:
        """Read and commit at once, with nothing looked up ahead."""
        return self.commit(self.read(*lines), {})


@contextlib.contextmanager
def working(settings: Settings, shard: int = 0) -> Iterator[Steps]:
    with warehouse.connect(settings, threads=1) as connection:
        steps = Steps(settings, connection, shard)
        try:
            yield steps
        finally:
            steps.ahead.close()
            steps.gate.__exit__(None, None, None)


@pytest.fixture
def steps(fresh_platform: Settings) -> Iterator[Steps]:
    with working(fresh_platform) as made:
        yield made


def fetch(settings: Settings, sql: str) -> list[Any]:
    with warehouse.connect(settings, read_only=True) as connection:
        assert accounting(connection).holds
        return connection.execute(sql).fetchall()


def stored(settings: Settings) -> list[Line]:
    rows = fetch(settings, "SELECT event_id, payload ->> 'query' FROM raw.search_events ORDER BY ALL")
    return [(int(event_id[-12:]), query) for event_id, query in rows]


def vanish(settings: Settings, *numbers: int) -> None:
    """Delete rows and leave the guard alone, as an erasure does: only who looked before, or wrote them, knows of them."""
    ids = [foreign.search(number)["event_id"] for number in numbers]
    theirs = "FROM raw.search_events WHERE event_id IN (SELECT unnest(?))"
    with warehouse.connect(settings) as connection, warehouse.transaction(connection):
        connection.execute(
            "INSERT INTO ops.erased_rows SELECT 'test', batch_id, 'raw.search_events', count(*), now() "
            f"{theirs} GROUP BY batch_id",
            [ids],
        )
        connection.execute(f"DELETE {theirs}", [ids])


def by_file(settings: Settings, folder: Path, number: int) -> None:
    (folder / f"file-{number}.jsonl").write_bytes(line(number) + b"\n")
    worker.ingest_files(settings, folder / f"file-{number}.jsonl", clock=lambda: foreign.NOW)


def by_replay(settings: Settings, folder: Path, number: int) -> None:
    done = replaying.replay(settings, Selection(), clock=lambda: LATER, actor="zoe")
    assert done.stored == 1, done


def by_call(settings: Settings, folder: Path, number: int) -> None:
    offset = next_offset(settings, "hook")
    ingest_lines(settings, [line(number)], channel="hook", offset=offset, clock=lambda: foreign.NOW)


OTHERS = {"a file": by_file, "a replay": by_replay, "a direct call": by_call}
Other = Callable[[Settings, Path, int], None]


def promised(other: Other, settings: Settings, folder: Path, number: int) -> bytes:
    """The line that the other writer is going to store; where it is a replay, the line is a letter now."""
    if other is not by_replay:
        return line(number)
    (folder / "letters.jsonl").write_bytes(line(number, timestamp=EARLY) + b"\n")
    worker.ingest_files(settings, folder / "letters.jsonl", clock=lambda: foreign.NOW)
    return line(number, timestamp=EARLY)


def test_a_look_holds_while_nothing_is_stored(steps: Steps) -> None:
    steps.store(line(1), line(2), line(9))
    batch = steps.read(line(1), line(2, "flights"), line(3))
    looks = steps.look(batch)
    assert looks["search"].originals == {0: line(1), 1: line(2)}
    vanish(steps.settings, 1, 2)  # a transaction that looked again would store them
    assert steps.commit(batch, looks) == Counts(received=3, stored=1, duplicates=1, dead_letters=1)
    assert stored(steps.settings) == [(3, "hotels"), (9, "hotels")]


def test_the_commit_before_is_compared_in_memory(steps: Steps) -> None:
    steps.store(line(1))
    before = steps.read(line(1, "other"), line(2), line(2, "other"), line(3))
    batch = steps.read(line(1), line(1, "other"), line(2), line(3, "other"), line(4))
    looks = [steps.look(before), steps.look(batch, before)]
    assert steps.commit(before, looks[0]) == Counts(received=4, stored=2, dead_letters=2)
    vanish(steps.settings, 1, 2, 3)
    # 1 is compared with what was looked up, not with the refused line of the commit before; 2 and 3 with its rows
    assert steps.commit(batch, looks[1]) == Counts(received=5, stored=1, duplicates=2, dead_letters=2)
    letters = fetch(steps.settings, "SELECT decode(raw_payload) ->> 'query', reason_code FROM raw.dead_letters")
    assert letters == [("other", "conflicting_duplicate")] * 4
    assert stored(steps.settings) == [(4, "hotels")]


@pytest.mark.parametrize("early", [True, False], ids=["two commits early", "beside an older batch"])
def test_only_the_last_commit_is_in_memory(steps: Steps, early: bool) -> None:
    steps.store(line(100))
    batches = [steps.read(line(number)) for number in (1, 2)] + [steps.read(line(1), line(2), line(100), line(3))]
    looks = steps.look(batches[2], batches[0])
    for batch in batches[:2]:
        assert steps.commit(batch, {}).stored == 1
    if not early:  # no guard moves from here on, but what this look leaves out is not in the last commit
        looks = steps.look(batches[2], batches[0])
    assert steps.commit(batches[2], looks) == Counts(received=4, stored=1, duplicates=3)
    assert stored(steps.settings) == [(1, "hotels"), (2, "hotels"), (3, "hotels"), (100, "hotels")]


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_what_another_writer_stored_after_the_look_is_found(steps: Steps, tmp_path: Path, other: Other) -> None:
    steps.store(line(1))
    batch = steps.read(line(1), promised(other, steps.settings, tmp_path, 2))
    looks = steps.look(batch)
    other(steps.settings, tmp_path, 2)  # the guard moved once, and not by this worker
    assert steps.commit(batch, looks) == Counts(received=2, duplicates=2)
    assert len(stored(steps.settings)) == 2


@pytest.mark.parametrize("own_first", [True, False], ids=["after our own", "before our own"])
@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_another_commit_beside_our_own_is_found(steps: Steps, tmp_path: Path, other: Other, own_first: bool) -> None:
    steps.store(line(1))
    before, batch = steps.read(line(2)), steps.read(line(2), promised(other, steps.settings, tmp_path, 3), line(4))
    looks = steps.look(batch, before)
    if not own_first:
        other(steps.settings, tmp_path, 3)
    assert steps.commit(before, {}).stored == 1
    if own_first:
        other(steps.settings, tmp_path, 3)
    assert steps.commit(batch, looks) == Counts(received=3, stored=1, duplicates=2)
    assert len(stored(steps.settings)) == 4


def test_a_repeated_transaction_looks_again(steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.store(line(1))
    batch = steps.read(line(1), promised(by_replay, steps.settings, tmp_path, 2), line(3))
    looks, races = steps.look(batch), list[int]()
    move = positions.move

    def lose_once(*arguments: Any) -> None:
        """Another writer's commit comes between the beginning of the transaction and its end."""
        if not races:
            races.append(1)
            by_replay(steps.settings, tmp_path, 2)  # a replay waits for no worker's turn
            vanish(steps.settings, 1)  # known to the look only
        move(*arguments)

    monkeypatch.setattr(positions, "move", lose_once)
    assert steps.commit(batch, looks) == Counts(received=3, stored=2, duplicates=1)
    assert stored(steps.settings) == [(1, "hotels"), (2, "hotels"), (3, "hotels")]


def test_a_look_serves_one_attempt_even_when_no_guard_moved(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.store(line(1))
    batch = steps.read(line(1), line(2))
    looks, races = steps.look(batch), list[int]()
    move = positions.move

    def lose_once(*arguments: Any) -> None:
        if not races:
            races.append(1)
            vanish(steps.settings, 1)
            with warehouse.connect(steps.settings) as connection:
                connection.execute("UPDATE ops.position_search SET updated_at = now() WHERE source = '(guard)'")
        move(*arguments)

    monkeypatch.setattr(positions, "move", lose_once)
    assert steps.commit(batch, looks) == Counts(received=2, stored=2)


def test_a_look_that_fails_counts_as_none(steps: Steps) -> None:
    steps.store(line(1))
    batch = steps.read(line(1), line(2))
    steps.ahead.close()
    looks = steps.look(batch)
    assert looks == {}
    assert steps.commit(batch, looks) == Counts(received=2, stored=1, duplicates=1)


def test_workers_of_several_shards_find_what_the_others_stored(fresh_platform: Settings) -> None:
    sharded = fresh_platform.model_copy(update={"stream_shards": 2})
    with working(sharded, 0) as one, working(sharded, 1) as two:
        one.store(line(1))
        two.store(line(2))
        batches = [steps.read(line(1), line(2), line(3), line(10 + place)) for place, steps in enumerate((one, two))]
        looks = [steps.look(batch) for steps, batch in zip((one, two), batches, strict=True)]
        assert one.commit(batches[0], looks[0]) == Counts(received=4, stored=2, duplicates=2)
        assert two.commit(batches[1], looks[1]) == Counts(received=4, stored=1, duplicates=3)
        assert [number for number, _ in stored(sharded)] == [1, 2, 3, 10, 11]
        with (
            worker.looks_ahead(sharded, one.connection) as off,
            worker.looks_ahead(fresh_platform, one.connection) as on,
        ):
            assert (off, on is None) == (None, False)  # there the guard would move all the time


def test_a_person_who_is_erased_after_the_look_leaves_nothing_behind(steps: Steps) -> None:
    settings = steps.settings
    theirs = line(1, user_id="u-gone", session_id="web-1")
    mention = line(2, "u-gone")
    steps.store(theirs, mention, line(3))
    other = line(1, "the id of theirs", session_id="web-78")
    batch = steps.read(theirs, other, mention, line(3), line(4, user_id="u-gone", session_id="web-1"), line(5))
    looks = steps.look(batch)
    forget(settings, "u-gone")
    assert steps.commit(batch, looks) == Counts(received=6, stored=1, duplicates=2, dead_letters=3)
    assert fetch(settings, "SELECT count(*) FROM raw.search_events WHERE contains(payload, 'u-gone')") == [(0,)]
    letters = fetch(settings, "SELECT reason_code, decode(raw_payload) FROM raw.dead_letters ORDER BY ALL")
    assert letters == [("conflicting_duplicate", other.decode()), ("erased_user", ""), ("erased_user", "")]


def forget(settings: Settings, user_id: str) -> None:
    """What an erasure does to the raw tables, as `erasure.run` does it."""
    with warehouse.connect(settings) as connection, cut.commits_held(settings) as ledger:
        found = person.find(connection, user_id)
        job = Job(settings, "erasure", found, LATER)
        listed = {tombstones.USER: [user_id], tombstones.SESSION: found.all_sessions}
        tombstones.add(settings, ledger, listed, job.erasure_id, job.now)
        lake.erase_raw(connection, job, lake.look_up(connection, job, None), LATER)


def test_a_drain_looks_ahead_and_finds_what_its_last_commit_stored(fresh_platform: Settings) -> None:
    with streams.connect(fresh_platform) as client:
        streams.publish(client, "search", [line(number) for number in range(20)], batch=20)
        worker.ingest_stream(fresh_platform, "search", clock=lambda: foreign.NOW)
        # Each batch repeats half of the one before, and one of the events stored first.
        for first in range(100, 200, 20):
            lines = [line(number) for number in range(first - 10, first + 20)]
            streams.publish(client, "search", [*lines, line(first // 20)], batch=31)
    commits = list[Counts]()

    def after_commit(_: str, counts: Counts) -> None:
        commits.append(counts)
        time.sleep(0.5)  # the next batch has been looked up by now
        if len(commits) == 1:
            vanish(fresh_platform, 6, *range(110, 120))  # so only its look, and memory, know what it repeats

    worker.ingest_stream(fresh_platform, "search", clock=lambda: foreign.NOW, batch_events=31, on_commit=after_commit)
    repeated = Counts(received=31, stored=20, duplicates=11)
    assert commits == [Counts(received=31, stored=30, duplicates=1), *[repeated] * 4]


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_looks_and_commits_stores_what_a_plain_dictionary_would(
    steps: Steps, tmp_path: Path, seed: int
) -> None:
    draw, model, expected = random.Random(seed), dict[int, str](), Counts()
    waiting, last = list[tuple[Read, Read | None, list[Line]]](), None
    looks = dict[int, Looks]()
    for _ in range(40):
        step = draw.choice(["read", "look", "commit", "commit", "other"])
        if step == "read" and len(waiting) < 3:
            lines = [(draw.randrange(30), draw.choice("aab")) for _ in range(draw.randint(1, 6))]
            read = steps.read(*(line(*each) for each in lines))
            waiting.append((read, last, lines))
            last = read
        elif step == "look" and waiting:
            batch, before, _ = draw.choice(waiting)
            looks[id(batch)] = steps.look(batch, before)
        elif step == "commit" and waiting:
            batch, _, lines = waiting.pop(0)
            expected = received(model, lines)
            assert steps.commit(batch, looks.pop(id(batch), {})) == expected
        elif step == "other" and draw.random() < 0.5:
            lines = [(draw.randrange(30), draw.choice("aab")) for _ in range(3)]
            offset = next_offset(steps.settings, "hook")
            send = [line(*each) for each in lines]
            found = ingest_lines(steps.settings, send, channel="hook", offset=offset, clock=lambda: foreign.NOW)
            assert found == received(model, lines)
    assert stored(steps.settings) == sorted(model.items())


def received(model: dict[int, str], lines: list[Line]) -> Counts:
    """What becomes of lines when the first with an id is stored, one after the other."""
    counts = Counts(received=len(lines))
    for number, query in lines:
        if number not in model:
            model[number] = query
            counts.stored += 1
        elif model[number] == query:
            counts.duplicates += 1
        else:
            counts.dead_letters += 1
    return counts
