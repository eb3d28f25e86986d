"""Travellers of the simulator at a rate that changes, and lines of the soak's own: late, broken, with new fields."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import redis

from generators.live import live
from generators.settings import SimulationSettings
from generators.simulation import Simulation
from searchflow import streams
from searchflow.errors import SearchFlowError
from searchflow.settings import Settings
from tests import foreign
from tests.chaos.soak.books import DUPLICATE, LETTER, STORED, Books

PATIENCE = 90.0
"""Seconds that a producer waits for a stream server that is away."""


class Producer:
    """Sends lines, each noted before. A line that the server took before it was killed is sent again: a repeat."""

    def __init__(self, settings: Settings, books: Books, clock: Callable[[], datetime], seed: int) -> None:
        self.settings, self.books, self.clock = settings, books, clock
        self.draw = random.Random(seed)
        self._lock = threading.Lock()

    def send(self, event_type: str, lines: list[tuple[str | None, str, bytes]]) -> None:
        """(event id, fate, line) each, in entries of up to 500."""
        for first in range(0, len(lines), 500):
            self._entry(event_type, lines[first : first + 500])

    def _entry(self, event_type: str, lines: list[tuple[str | None, str, bytes]]) -> None:
        with self._lock:
            self._insist(event_type, [line for _, _, line in lines])
            for event_id, fate, line in lines:
                self.books.note(event_type, event_id, fate, line)

    def _insist(self, event_type: str, lines: list[bytes]) -> None:
        """One entry, once. It carries a mark, so that after a failure it is known whether the server has it."""
        mark, deadline = uuid.uuid4().hex, time.monotonic() + PATIENCE
        fields = streams.encode(lines, "zstd" if len(lines) >= 50 else None) | {b"soak": mark.encode()}
        stream, tried = streams.EVENT_STREAMS[event_type], False
        while True:
            try:
                with streams.connect(self.settings) as client:
                    if not tried or not _has(client, stream, mark):
                        if tried:
                            self.books.sent_again(lines)
                        tried = True
                        client.xadd(stream, fields)  # type: ignore[arg-type]
                return
            except (SearchFlowError, OSError, redis.RedisError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def searches(self, count: int, ago: timedelta = timedelta(), **fields: Any) -> list[str]:
        """Valid searches of the soak's own, at one moment; returns their ids."""
        ids = [self.new_id() for _ in range(count)]
        lines = [
            (event_id, STORED, foreign.line(**self.search(event_id, self.clock() - ago, session=event_id, **fields)))
            for event_id in ids
        ]
        self.send("search", [(event_id, fate, line) for event_id, fate, line in lines])
        return ids

    def broken(self, count: int) -> list[str]:
        """Searches whose results count is a text; returns the ids they would have."""
        ids = [self.new_id() for _ in range(count)]
        for_all = {"results_count": "12"}
        lines = [foreign.line(**self.search(each, self.clock(), session=each, **for_all)) for each in ids]
        self.send("search", [(None, LETTER, line) for line in lines])
        return ids

    def repeated(self, count: int) -> None:
        """Valid searches, each sent twice."""
        ids = [self.new_id() for _ in range(count)]
        lines = [foreign.line(**self.search(each, self.clock(), session=each)) for each in ids]
        self.send("search", [(each, STORED, line) for each, line in zip(ids, lines, strict=True)])
        self.send("search", [(each, DUPLICATE, line) for each, line in zip(ids, lines, strict=True)])

    def new_id(self) -> str:
        """Of an event."""
        with self._lock:
            return str(uuid.UUID(int=self.draw.getrandbits(128), version=4))

    def search(self, event_id: str, at: datetime, *, session: str, **fields: Any) -> dict[str, Any]:
        """A document."""
        changes = {"session_id": f"soak-{session[:13]}", "platform": "web", "device_type": "desktop", **fields}
        return foreign.search(event_id=event_id, timestamp=at.isoformat(), **changes)


def _has(client: redis.Redis, stream: str, mark: str) -> bool:
    """Did the server take it before it went away? An entry that was ingested meanwhile is gone from the stream."""
    newest: Any = client.xrevrange(stream, count=200)
    return any(fields.get(b"soak") == mark.encode() for _, fields in newest)


class Travellers(threading.Thread):
    """The simulator's travellers, until told to stop. `rate` may be changed at any moment."""

    def __init__(self, producer: Producer, world: SimulationSettings, rate: float) -> None:
        super().__init__(daemon=True)
        self._producer, self._world, self.rate = producer, world, rate
        self._ended, self._turn = threading.Event(), threading.Event()
        self.problem: str | None = None

    def change(self, rate: float) -> None:
        """Go on at another rate."""
        self.rate = rate
        self._turn.set()

    def run(self) -> None:
        """Stretches of live traffic, each at one rate."""
        simulation = Simulation(self._world)
        try:
            while not self._ended.is_set():
                self._turn.clear()
                for batch in live(simulation, self.rate, stop=self._turn, now=self._producer.clock):
                    self._send(batch)
        except Exception as error:  # said at the end: the books would not balance for an unknown reason
            self.problem = f"{type(error).__name__}: {error}"

    def _send(self, batch: Any) -> None:
        for event_type, frame in batch.frames.items():
            rows = frame.select("event_id", "fate", "line").iter_rows()
            lines = [(str(name), fate_of(code), bytes(line)) for name, code, line in rows]
            self._producer.send(event_type, lines)

    def stop(self) -> None:
        """End, with what was begun sent completely."""
        self._ended.set()
        self._turn.set()
        self.join(120)


def fate_of(code: int) -> str:
    """The simulator's number as the books call it."""
    return (STORED, DUPLICATE)[code] if code < 2 else LETTER
