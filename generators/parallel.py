"""One range by several processes: each makes and sends the events of its own partition of the travellers.

Every worker has a publisher of its own (files or stream entries), so nothing is merged; a traveller's events stay in
order because they come from one worker. The parent is told what was sent, for the report and the answer key.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from multiprocessing import get_context
from typing import Any

from generators.publishers import Publisher
from generators.settings import SimulationSettings, milliseconds, moment
from generators.simulation import Batch, Partition, Simulation
from searchflow.errors import SearchFlowError, ServiceError

OpenPublisher = Callable[[Partition], Publisher]
"""Function that makes a worker's publisher. A function of a module or a `partial` of one: it travels to another
process."""
_WAITING = 8  # batches a worker may be ahead of the parent
_SPAWN = get_context("spawn")  # servers' clients and Polars' threads do not survive a fork


@dataclass(frozen=True)
class _Task:
    world: SimulationSettings
    after: datetime | None
    until: datetime
    partition: Partition
    open_publisher: OpenPublisher
    details: bool


class _Horizon:
    """The moment up to which any worker has begun. After a stop no worker goes further: all of them end at one moment."""

    def __init__(self) -> None:
        self._furthest = _SPAWN.Value("q", 0)
        self._stopped = _SPAWN.Event()

    def stop(self) -> None:
        self._stopped.set()

    def may_begin(self, window: datetime) -> bool:
        """Return whether a worker may begin the window that ends at `window`."""
        wanted = milliseconds(window)
        with self._furthest.get_lock():
            if self._stopped.is_set() and wanted > self._furthest.value:
                return False
            self._furthest.value = max(self._furthest.value, wanted)
            return True

    @property
    def moment(self) -> datetime:
        """Return the end of the last window that was begun."""
        return moment(self._furthest.value)


class Workers:
    """The workers that send a range with several processes. Iterate over it: each batch, without its lines, once it was
    sent.

    Without `details` a batch has no more than the fates of its lines: enough to count, and cheap to hand over. When the
    iteration has ended, `until` is the moment up to which everything was sent.
    """

    def __init__(
        self,
        world: SimulationSettings,
        open_publisher: OpenPublisher,
        *,
        after: datetime | None,
        until: datetime,
        processes: int,
        details: bool = True,
        stop: threading.Event | None = None,
    ) -> None:
        self._stop, self._horizon = stop or threading.Event(), _Horizon()
        self._sent: list[Any] = [_SPAWN.Queue(_WAITING) for _ in range(processes)]
        self.until = until
        self._begin = after or moment(world.start_ms - 1)
        parts = [Partition(index, processes) for index in range(processes)]
        tasks = [_Task(world, after, until, part, open_publisher, details) for part in parts]
        self._processes = [
            _SPAWN.Process(target=_work, args=(task, self._horizon, sent), daemon=True)
            for task, sent in zip(tasks, self._sent, strict=True)
        ]

    def __iter__(self) -> Iterator[Batch]:
        with _tuned_workers():
            for process in self._processes:
                process.start()
        try:
            yield from self._collect()
        finally:
            for process in self._processes:
                process.terminate()
                process.join()
        if self._stop.is_set():
            self.until = max(self._begin, min(self.until, self._horizon.moment))

    def _collect(self) -> Iterator[Batch]:
        """Take the workers' batches in turn: which of them is faster does not show in the answer key."""
        working = list(self._sent)
        while working:
            for sent in list(working):
                message = self._next(sent)
                if isinstance(message, str):
                    raise SearchFlowError(message)
                if message is None:
                    working.remove(sent)
                else:
                    yield message

    def _next(self, sent: Any) -> Batch | str | None:
        while True:
            if self._stop.is_set():
                self._horizon.stop()
            try:
                message: Batch | str | None = sent.get(timeout=0.5)
            except queue.Empty:
                self._check()
            else:
                return message

    def _check(self) -> None:
        lost = [
            process
            for process, sent in zip(self._processes, self._sent, strict=True)
            if process.exitcode not in (None, 0) and sent.empty()
        ]
        if lost:
            raise ServiceError(
                f"A generating process ended by itself (status {lost[0].exitcode}). Run the same command again, "
                "with fewer --processes if memory ran out: what was sent twice is dropped as duplicates."
            )


def _work(task: _Task, horizon: _Horizon, sent: Any) -> None:
    """Send the partition as one worker, window after window."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    try:
        simulation = Simulation(task.world)
        with task.open_publisher(task.partition) as publisher:
            windows = simulation.windows(after=task.after, until=task.until, partition=task.partition)
            for window, rows in windows:
                if not horizon.may_begin(window):
                    break
                for batch in simulation.cut(rows):
                    publisher.publish(batch)
                    sent.put(_without_lines(batch, task.details))
        sent.put(None)
    except SearchFlowError as error:
        sent.put(str(error))


def _without_lines(batch: Batch, details: bool) -> Batch:
    frames = batch.frames.items()
    return Batch({name: frame.drop("line") if details else frame.select("fate") for name, frame in frames}, batch.until)


# One thread of Polars a worker: the processes are the parallelism. And its allocator (jemalloc) keeps freed memory for the
# next batch instead of returning it: half of the page faults, a sixth of the time.
_WORKER_ENVIRONMENT = {"POLARS_MAX_THREADS": "1", "_RJEM_MALLOC_CONF": "dirty_decay_ms:60000,muzzy_decay_ms:60000"}


@contextmanager
def _tuned_workers() -> Iterator[None]:
    """Let processes started here read `_WORKER_ENVIRONMENT`; our own environment is as before afterwards."""
    before = {name: os.environ.get(name) for name in _WORKER_ENVIRONMENT}
    os.environ.update(_WORKER_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
