"""Kill syncs again and again: `python -m tests.activations.mayhem HOME FOLDER SEED KILLS SYNC...`.

One warm process (everything imported, nothing connected) forks a worker, lets it run up to a random step or for a
random time, and sends SIGKILL. The product has no hook for this: the steps are its own functions, wrapped here in the
forked process only. Between two kills the model changes. One JSON line says how the workers ended.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from activations import engine, planner, records, run
from activations.base import Destination
from activations.declaration import destination_module
from activations.errors import DestinationUnavailable
from activations.gate import GateVerdict
from activations.ledger import Ledger
from activations.sync_files import load_sync
from searchflow import warehouse
from searchflow.settings import Settings, load_settings
from tests.activations.scene import NOW

USERS = 40
LONGEST = 0.6
"""Seconds until a kill that is not at a step."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(step: Callable[..., Any], countdown: list[int]) -> Callable[..., Any]:
    """Return the step with a chance that the process dies before or after it."""

    def count() -> None:
        countdown[0] -= 1
        if countdown[0] == 0:
            die()

    def wrapped(*arguments: Any, **named: Any) -> Any:
        count()
        answer = step(*arguments, **named)
        count()
        return answer

    return wrapped


def arm(chance: random.Random, sync: str, folder: Path) -> None:
    """Choose when to die."""
    if chance.random() < 0.25:
        threading.Timer(chance.uniform(0.05, LONGEST), die).start()
        return
    countdown = [chance.randrange(1, 26)]
    kind: type[Destination] = next(
        each
        for each in vars(destination_module(load_sync(sync, folder).kind)).values()
        if isinstance(each, type) and issubclass(each, Destination) and each is not Destination
    )
    for owner, name in ((kind, "prepare"), (kind, "deliver"), (Ledger, "acknowledge"), (records, "write_batch"),
                        (planner, "stage"), (run.Run, "_write")):  # fmt: skip
        setattr(owner, name, dying(getattr(owner, name), countdown))


def sync_once(settings: Settings, sync: str, folder: Path) -> None:
    engine.run_sync(
        settings,
        sync,
        now=NOW,
        gate=lambda suite: GateVerdict(suite, "pass"),
        approve=True,
        sleep=lambda seconds: time.sleep(min(seconds, 0.02)),
        folder=folder,
    )


def change_model(settings: Settings, chance: random.Random) -> None:
    """Some users come, change or leave; of messages more come."""
    with closing(warehouse.connect(settings)) as connection, warehouse.transaction(connection):
        for user in chance.sample(range(USERS), 8):
            for table in ("act_crm_user_segments", "act_recommendations"):
                connection.execute(f"DELETE FROM activation.{table} WHERE user_id = 'u{user:02}'")
            if chance.random() < 0.8:
                segment = chance.choice(["regular", "at_risk", "new_user"])
                connection.execute(
                    "INSERT INTO activation.act_crm_user_segments VALUES (?, ?, ?, 1, ?, 'CA')",
                    [f"u{user:02}", segment, chance.randrange(1000), NOW.replace(tzinfo=None)],
                )
                places = chance.sample(["Lisbon", "Rome", "Tokyo", "Oslo"], 2)
                connection.executemany(
                    "INSERT INTO activation.act_recommendations VALUES (?, ?, ?, 1)",
                    [(f"u{user:02}", place, round(chance.random(), 3)) for place in places],
                )
        for _ in range(4):
            key = f"k{chance.randrange(10**6)}"
            connection.execute(
                "INSERT INTO activation.act_abandoned_search_emails SELECT ?, 'u', 'u@example.org', 'U', 'fr', "
                "'UTC', 'hotels', 'Lisbon', ?",
                [key, NOW.replace(tzinfo=None)],
            )


def forked(work: Callable[[], None]) -> int:
    """Run it in a child; returns how that ended."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except DestinationUnavailable:
            status = 3  # the API was in a mood through all retries: as good as killed
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(home: str, folder: str, seed: int, kills: int, syncs: list[str]) -> None:
    settings, chance, ended = load_settings(home=Path(home)), random.Random(seed), Counter[str]()
    for number in range(kills * 3):
        if ended["killed"] == kills:
            break
        sync, own = syncs[number % len(syncs)], random.Random(chance.random())
        assert forked(lambda: change_model(settings, own)) == 0  # noqa: B023

        def victim(sync: str = sync, own: random.Random = own) -> None:
            arm(own, sync, Path(folder))
            sync_once(settings, sync, Path(folder))

        status = forked(victim)
        ended[{-signal.SIGKILL: "killed", 0: "done", 3: "gave up"}.get(status, "failed")] += 1
    sys.stdout.write(json.dumps(ended) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
