"""A worker killed at any point sends no message twice and loses none: those in doubt are held, and the server's log
settles them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from activations.mail import overview
from searchflow.settings import ROOT
from tests.activations.post import NOW, OUTBOX, Post

pytestmark = pytest.mark.integration
USERS = [f"u{number:02}" for number in range(12)]


def start(post: Post, *step: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.activations.mail_victim", NOW.isoformat(), *step]
    environment = {**os.environ, **post.environment(), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)


def kill_at(post: Post, step: str, number: int) -> None:
    worker = start(post, step, str(number))
    _, said = worker.communicate(timeout=60)
    assert worker.returncode == -signal.SIGKILL, said.decode()


def settle(post: Post, folder: Path) -> None:
    """What an operator does after a crash."""
    overview.resolve(post.settings, overview.from_log(post.settings, post.log(folder / "log"), NOW), by="me", now=NOW)
    post.deliver()


def everything_went_once(post: Post) -> None:
    assert sorted(post.receivers()) == USERS
    assert len(set(post.message_ids())) == len(USERS)
    assert {state for state, _ in post.states().values()} == {"sent"}
    assert post.scene.redis.xlen(OUTBOX) == 0


def test_killed_between_any_two_steps(post: Post, tmp_path: Path) -> None:
    for user in USERS:
        post.queue(user)
    kill_at(post, "offered", 3)
    assert (len(post.recorder.taken), post.deliver(limit=0).held) == (2, 0)  # no doubt: it was never ended
    kill_at(post, "intended", 1)
    assert (len(post.recorder.taken), post.deliver(limit=0).held) == (2, 1)  # in doubt, and was not taken
    kill_at(post, "taken", 2)
    assert (len(post.recorder.taken), post.deliver(limit=0).held) == (4, 1)  # in doubt, and was taken
    kill_at(post, "recorded", 1)
    assert len(post.recorder.taken) == 5
    report = post.deliver()
    assert (report.sent, report.held) == (12 - 5 - 1, 0)  # all but the one that was not taken; nothing twice
    assert len(set(post.message_ids())) == len(post.recorder.taken) == 11
    settle(post, tmp_path)
    everything_went_once(post)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_killed_at_random_moments_of_the_conversation(post: Post, tmp_path: Path, seed: int) -> None:
    """By its own server, in the midst of commands and answers."""
    chance = random.Random(seed)
    for user in USERS:
        post.queue(user)
    for _ in range(3):
        number, command = len(post.recorder.taken) + chance.randint(1, 2), chance.choice(("RCPT", "DATA"))
        worker = start(post)

        def kill(said: str, count: int, number: int = number, command: str = command, pid: int = worker.pid) -> None:
            if (said, count) == (command, number):
                os.kill(pid, signal.SIGKILL)

        post.recorder.before = kill
        worker.communicate(timeout=60)
        assert worker.returncode == -signal.SIGKILL
        assert len(set(post.message_ids())) == len(post.recorder.taken)  # nothing twice
    post.recorder.before = lambda said, count: None
    settle(post, tmp_path)
    everything_went_once(post)
