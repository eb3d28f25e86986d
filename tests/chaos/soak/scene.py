"""What acts play on: two homes with servers of their own, travellers, a mail server, a receiver of alarms, the journal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import redis
from aiosmtpd.controller import Controller

from searchflow import streams, warehouse
from searchflow.errors import SearchFlowError
from searchflow.holdout import rule_of
from tests.activations.post import Recorder, serving
from tests.chaos.soak.books import Books
from tests.chaos.soak.home import Platform
from tests.chaos.soak.journal import Cause, Expected, Journal
from tests.chaos.soak.observer import Observer
from tests.chaos.soak.traffic import Producer, Travellers
from tests.chaos.soak.truth import Mail
from tests.chaos.soak.verdict import Finding
from tests.ops.receiver import Receiver

EMAILS = "abandoned_search_emails"
WRITTEN_TO = [name for name in (f"soak-mail-{number}" for number in range(20)) if not rule_of(EMAILS).holds_out(name)][
    :6
]  # type: ignore[union-attr]
"""Travellers who agreed and are not held out: each gets one message."""
FORGOTTEN = [f"soak-forget-{number}" for number in range(9)]
"""Travellers who ask to be forgotten, one a day."""
PROFILE = "user_id,email,name,locale,time_zone,country,marketing_consent,created_at,updated_at\n"


class Post(Recorder):
    """A mail server that can go away."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self._server: Controller | None = None

    def open(self) -> None:
        """Answer."""
        self._server = serving(self, self.port)

    def close(self) -> None:
        """Go away."""
        if self._server is not None:
            self._server.stop()
            self._server = None


@dataclass
class Scene:
    """Everything that an act needs. Times are the first home's."""

    folder: Path
    platform: Platform
    other: Platform
    journal: Journal
    books: Books
    other_books: Books
    producer: Producer
    travellers: Travellers
    receiver: Receiver
    post: Post
    observer: Observer
    draw: Random
    seconds: float
    first: datetime
    """When the first day is played."""
    began: float = field(default_factory=time.monotonic)
    seed: int = 0
    patience: float = 1.0
    """How many times longer than on a machine of its own everything may take."""
    findings: list[Finding] = field(default_factory=list)
    parts: list[tuple[float, float]] = field(default_factory=list)
    """Seconds since the beginning in which a server was away on purpose."""
    clocks: list[tuple[datetime, timedelta]] = field(default_factory=list)
    """From which moment (the system's) on our clock was moved by how much."""
    other_producer: Producer = field(init=False)
    broken_before: list[str] = field(default_factory=list)
    """Ids of events that were refused for a wrong type, and that a replay stores."""
    midnight: datetime = field(init=False)
    days: int = -1  # the home was made before the first
    _written_to: int = 0
    said: dict[str, float] = field(default_factory=dict)
    """Figures for the report: seconds of commands."""

    def __post_init__(self) -> None:
        self.other_producer = Producer(self.other.settings, self.other_books, self.other.now, self.draw.getrandbits(32))
        self.next_day()

    def next_day(self) -> None:
        """The clocks were set: note it, and when the day ends."""
        self.clocks.append((datetime.now(UTC), self.platform.offset))
        self.days += 1
        tomorrow = self.platform.now() + timedelta(days=1)
        self.midnight = tomorrow.replace(hour=0, minute=0, second=0, microsecond=0)

    def rebuilt(self) -> Platform:
        """The home in which the marts are made once more, from raw."""
        return Platform(self.folder / "c", {}, tree=self.platform.tree, offset=self.platform.offset)

    def seen(self, question: str, seconds: float = 240) -> bool:
        """Wait until a query of the lake finds something."""
        deadline = time.monotonic() + seconds * self.patience
        while time.monotonic() < deadline:
            with warehouse.connect(self.platform.settings, read_only=True) as connection:
                if connection.execute(question).fetchall():
                    return True
            time.sleep(2)
        self.findings.append(Finding("not seen", f"nothing within {seconds * self.patience:.0f} s: {question}"))
        return False

    def next_to_write_to(self) -> str:
        """A traveller who gets a message; each at most once a soak."""
        self._written_to += 1
        return WRITTEN_TO[(self._written_to - 1) % len(WRITTEN_TO)]

    @contextmanager
    def cause(self, name: str, *expects: Expected, detail: str = "") -> Iterator[Cause]:
        """Note a cause, and its end."""
        expected = [replace(each, within=each.within * self.patience) for each in expects]
        cause = self.journal.begin(name, self.platform.now(), detail, expected)
        say(f"{name} {detail}".strip())
        try:
            yield cause
        finally:
            self.journal.end(cause, self.platform.now())

    @contextmanager
    def away(self) -> Iterator[None]:
        """A server is away inside: its figures count for nothing, until a minute after."""
        first = time.monotonic() - self.began
        try:
            yield
        finally:
            self.parts.append((first, time.monotonic() - self.began + 60))

    def command(self, *arguments: str, status: int = 0, of: Platform | None = None) -> str:
        """Run a command that must end with this exit status and no traceback; returns what it printed."""
        began = time.monotonic()
        done = (of or self.platform).run(*arguments)
        self.said[" ".join(arguments[:2])] = round(time.monotonic() - began, 1)
        if done.returncode != status or "Traceback" in done.stderr:
            text = f"`searchflow {' '.join(arguments)}` ended with {done.returncode}, not {status}"
            self.findings.append(Finding("command", f"{text}: {done.stderr.strip()[-500:]}"))
        return done.stdout

    def deployment(self, name: str, wanted: str | None = "COMPLETED", seconds: float = 300) -> str:
        """Run a deployment to its end, which must be this one."""
        began, state = time.monotonic(), "not begun"
        try:
            state = self.platform.finished(self.platform.trigger(name), seconds * self.patience)
        except OSError as error:
            state = f"not begun ({error})"
        self.said[f"deployment {name}"] = round(time.monotonic() - began, 1)
        if wanted is not None and state != wanted:
            self.findings.append(Finding("deployment", f"{name} ended as {state}, not {wanted}"))
        return state

    def looked(self, times: int = 2, seconds: float = 90) -> None:
        """Wait until `status` was looked at so often, so that what is away now was seen."""
        wanted, deadline = self.observer.looks + times, time.monotonic() + seconds
        while self.observer.looks < wanted and time.monotonic() < deadline:
            time.sleep(0.5)

    def drained(self, platform: Platform, seconds: float = 180) -> bool:
        """Wait until what lies in the streams now is stored: an entry leaves its stream after its commit. Travellers go on
        sending, so the streams need not be empty at any moment."""
        deadline = time.monotonic() + seconds * self.patience
        newest: dict[str, str] | None = None
        while time.monotonic() < deadline:
            with contextlib.suppress(SearchFlowError, redis.RedisError), streams.connect(platform.settings) as client:
                newest = _newest(platform, client) if newest is None else newest
                if not any(client.xrange(stream, max=last, count=1) for stream, last in newest.items()):
                    return True
            time.sleep(0.5)
        self.findings.append(Finding("not drained", f"events waited for longer than {seconds * self.patience:.0f} s"))
        return False

    def moved(self, at: datetime) -> timedelta:
        """How far our clock was from the system's at a moment of the system's."""
        return next((offset for since, offset in reversed(self.clocks) if at >= since), self.clocks[0][1])

    def mails(self) -> list[Mail]:
        """What the mail server took, with our times."""
        found = []
        for letter in self.post.taken:
            at = datetime.strptime(str(letter["Date"]), "%a, %d %b %Y %H:%M:%S %z").astimezone(UTC)
            found.append(Mail(str(letter["Message-ID"]), str(letter["To"].addresses[0].username), at))
        return found


def _newest(platform: Platform, client: redis.Redis) -> dict[str, str]:
    """Return the id of the newest entry that each stream ever had."""
    names = [name for shards in streams.names(platform.settings).values() for name in shards]
    return {name: streams.state(client, name).last_id for name in names}


def profiles(now: datetime) -> str:
    """The feed file of the soak's own travellers."""
    stamp = f"{now - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    people = (*WRITTEN_TO, *FORGOTTEN)
    rows = [f"{name},{name}@example.org,{name},en-CA,America/Toronto,CA,true,{stamp},{stamp}" for name in people]
    return PROFILE + "\n".join(rows) + "\n"


def say(text: str) -> None:
    """Progress, for people."""
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)
