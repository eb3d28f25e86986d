"""Kill ingestion again and again, and compare what is stored with what was sent, event by event.

    python -m tests.chaos.kills --kills 1000 --seed 7

One warm process (everything imported, nothing connected) forks a worker, lets it run for a random time or up to a
random step of a commit, and sends SIGKILL. The product has no hook for this: the steps are its own functions, wrapped
here in the forked process only. Every 25 kills, and at the end, the warehouse is compared with what was sent.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import random
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from searchflow import lifecycle, streams, warehouse
from searchflow.ingestion import checks, commit, positions, stream_source, worker
from searchflow.ingestion.accounting import accounting
from searchflow.settings import Settings, load_settings
from tests import foreign

BATCH_EVENTS = 150
ENTRY_EVENTS = 25
STEPS: dict[str, tuple[Any, str, str]] = {
    "after reading a batch": (stream_source.StreamSource, "_read", "after"),
    "after validating it": (checks, "prepare", "after"),
    "before the position moves": (positions, "move", "before"),
    "after the position moved": (positions, "move", "after"),
    "after looking for duplicates": (commit, "new_rows", "after"),
    "after the rows": (commit, "insert", "after"),
    "after the dead letters": (commit, "insert_dead_letters", "after"),
    "inside the commit": (commit.record, "rows", "after"),
    "after the commit, before the trim": (stream_source.StreamSource, "committed", "before"),
    "after the trim": (stream_source.StreamSource, "committed", "after"),
}
"""Step -> (where the function is, its name, die before or after it)."""


@dataclass
class Sent:
    """What was published: documents by event id, lines that must become letters, and how many exact repeats."""

    ids: set[str] = field(default_factory=set)
    letters: list[bytes] = field(default_factory=list)
    repeats: int = 0
    lines: int = 0


@dataclass
class Outcome:
    """What happened, and whether every comparison held."""

    kills: int
    by_step: dict[str, int]
    commits: int
    received: int
    stored: int
    duplicates: int
    dead_letters: int
    seconds: float


def main() -> None:
    """From the command line: prints the outcome as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sf-") as folder:
        settings = load_settings(home=Path(folder))
        lifecycle.start(settings)
        try:
            outcome = run(settings, chosen.kills, random.Random(chosen.seed))
        finally:
            lifecycle.stop_all(settings)
    json.dump(asdict(outcome), sys.stdout)


def run(settings: Settings, kills: int, draw: random.Random) -> Outcome:
    """Kill `kills` workers while new events keep coming; then let one finish, and compare."""
    began, sent, by_step = time.monotonic(), Sent(), dict[str, int]()
    for number in range(1, kills + 1):
        publish(settings, sent, draw)
        step = draw.choice([*STEPS, *["at a random moment"] * len(STEPS)])
        kill_one(settings, step, draw)
        by_step[step] = by_step.get(step, 0) + 1
        if number % 25 == 0:
            compare(settings, sent, finished=False)
            print(f"{number} kills, {sent.lines:,} lines sent, all as it should be", file=sys.stderr)
    assert os.waitstatus_to_exitcode(os.waitpid(fork(lambda: ingest(settings)), 0)[1]) == 0
    totals = compare(settings, sent, finished=True)
    with warehouse.connect(settings, read_only=True) as connection:
        commits = int(connection.execute("SELECT count(*) FROM ops.ingestion_batches").fetchall()[0][0])
    counts = (totals.received, totals.stored, totals.duplicates, totals.dead_letters)
    return Outcome(kills, by_step, commits, *counts, round(time.monotonic() - began, 1))


def publish(settings: Settings, sent: Sent, draw: random.Random) -> None:
    """Some three hundred lines: new events, repeats of old ones, conflicts, rubbish."""
    known = sorted(sent.ids)[-200:]
    moment = worker.utc_now() - timedelta(minutes=1)
    documents = [event(uuid.UUID(int=draw.getrandbits(128), version=4), moment) for _ in range(300)]
    lines = [foreign.line(**document) for document in documents]
    sent.ids |= {str(document["event_id"]) for document in documents}
    again = draw.sample(lines, 10)
    conflicts = [foreign.line(**event(uuid.UUID(known_id), moment, query="another")) for known_id in known[:3]]
    rubbish = [b"rubbish %d" % draw.getrandbits(32) for _ in range(4)]
    sent.repeats += len(again)
    sent.letters += conflicts + rubbish
    everything = lines + again + conflicts + rubbish
    draw.shuffle(everything)
    # The first of two that conflict is stored, whichever it is: conflicts are only with events sent earlier.
    sent.lines += len(everything)
    with streams.connect(settings) as client:
        streams.publish(client, "search", everything, batch=ENTRY_EVENTS, codec="zstd")


def event(event_id: uuid.UUID, moment: datetime, **changes: Any) -> dict[str, Any]:
    return foreign.search(event_id=str(event_id), timestamp=moment.isoformat(), **changes)


def fork(work: Callable[[], None]) -> int:
    """Run `work` in a forked process; returns its id."""
    gc.freeze()
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException as error:  # a forked process must never go on as its parent
        print(f"worker: {type(error).__name__}: {error}", file=sys.stderr)
        os._exit(1)
    os._exit(0)


def ingest(settings: Settings) -> None:
    worker.ingest_stream(settings, "search", batch_events=BATCH_EVENTS)


def kill_one(settings: Settings, step: str, draw: random.Random) -> None:
    """Fork a worker and see that SIGKILL ended it, at `step` or at a random moment of its first commits."""
    nth, delay = draw.randint(1, 3), draw.uniform(0.0, 0.6)
    ready_read, ready_write = os.pipe()

    def work() -> None:
        if step in STEPS:
            die_at(step, nth)
        on_first_read(lambda: os.write(ready_write, b"."))
        ingest(settings)
        time.sleep(60)  # it had less to do than the random moment allowed: it is killed while idle

    child = fork(work)
    os.close(ready_write)
    os.read(ready_read, 1)  # it has begun to read, or it is dead already
    os.close(ready_read)
    if step not in STEPS:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, step


def on_first_read(tell: Callable[[], Any]) -> None:
    original = stream_source.StreamSource.read

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        tell()
        return original(*args, **kwargs)

    stream_source.StreamSource.read = wrapped  # type: ignore[method-assign]


def die_at(step: str, nth: int) -> None:
    """Wrap the step's function: the n-th time it is reached, the process ends by SIGKILL."""
    owner, name, when = STEPS[step]
    original: Callable[..., Any] = getattr(owner, name)
    reached = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal reached
        reached += 1
        if when == "before" and reached == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if when == "after" and reached == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)


def compare(settings: Settings, sent: Sent, *, finished: bool) -> Any:
    """The warehouse beside what was sent, by event id and by the bytes of letters."""
    with warehouse.connect(settings, read_only=True) as connection:
        totals = accounting(connection)
        stored = [row[0] for row in connection.execute("SELECT event_id FROM raw.search_events").fetchall()]
        letters = [bytes(row[0]) for row in connection.execute("SELECT raw_payload FROM raw.dead_letters").fetchall()]
    assert totals.holds, totals.sentence()
    assert len(stored) == len(set(stored)), "an event is stored twice"
    assert set(stored) <= sent.ids, "an event is stored that was never sent"
    if finished:
        assert set(stored) == sent.ids, f"{len(sent.ids - set(stored))} events are lost"
        assert sorted(letters) == sorted(sent.letters), "dead letters are not the lines that were sent"
        assert (totals.received, totals.duplicates) == (sent.lines, sent.repeats)
    return totals


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
