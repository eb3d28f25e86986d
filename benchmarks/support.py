"""Helpers that benchmarks share: a platform of their own, and work in a child process whose memory is measured."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import psutil

from benchmarks.report import Options
from searchflow import lifecycle
from searchflow.settings import Settings, load_settings


@contextmanager
def platform(options: Options, **overrides: Any) -> Iterator[Settings]:
    """Run embedded servers in the workspace for the block; all that the user has configured is left alone."""
    # Sockets have little room for a path, and the workspace may be far down.
    with tempfile.TemporaryDirectory(prefix="sf-bench-") as folder:
        settings = load_settings(home=Path(folder), redis_url=None, postgres_url=None, data_location=None, **overrides)
        options.progress("starting the servers")
        with _stopped_in_order():
            try:
                lifecycle.start(settings)
                yield settings
            finally:
                lifecycle.stop_all(settings)


@contextmanager
def _stopped_in_order() -> Iterator[None]:
    """Let a signal leave the block like an error does, so that no server stays behind; it would end the process at
    once."""
    if threading.current_thread() is not threading.main_thread():  # only that one may say what a signal does
        yield
        return

    def leave(number: int, _: object) -> NoReturn:
        signal.signal(number, signal.SIG_IGN)  # once: stopping the servers is not to be interrupted
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Measured:
    """The measure of a piece of work. `peak_bytes` is the largest resident size of its process."""

    result: Any
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def timed(work: Callable[..., Any], *arguments: Any) -> Measured:
    """Run `work` here and measure it."""
    began, cpu = time.perf_counter(), time.process_time()
    result = work(*arguments)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    scale = 1 if sys.platform == "darwin" else 1024  # kilobytes on Linux
    return Measured(result, seconds, cpu_seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale)


@contextmanager
def child() -> Iterator[Callable[..., Any]]:
    """Start a fresh process for the block: `call(work, *arguments)` runs a function of a module in it.

    What one call loaded is there for the next.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            yield lambda work, *arguments: pool.submit(work, *arguments).result()
        except (KeyboardInterrupt, SystemExit):
            for child in multiprocessing.active_children():  # leaving the block waits for it
                child.terminate()
            raise


def in_child(work: Callable[..., Any], *arguments: Any) -> Measured:
    """Run `work` (a function of a module) in a fresh process and measure it, without the start of the process."""
    with child() as call:
        measured: Measured = call(timed, work, *arguments)
    return measured


class TreeMemory:
    """The most memory that this process and its children hold at one moment, while the block runs (sampled).

    `peak_bytes` counts a page that several of them share (libraries) once: the sum of Linux' proportional set sizes. Where
    there is none, the sum of what each holds alone.
    """

    INTERVAL = 0.2

    def __enter__(self) -> Self:
        self.peak_bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        own = psutil.Process()
        while True:
            sizes = [self._size(process) for process in (own, *own.children(recursive=True))]
            self.peak_bytes = max(self.peak_bytes, sum(sizes))
            if self._done.wait(self.INTERVAL):
                return

    @staticmethod
    def _size(process: psutil.Process) -> int:
        try:
            memory = process.memory_full_info()
        except psutil.Error:  # it has ended meanwhile
            return 0
        return int(getattr(memory, "pss", memory.uss))


def machine() -> dict[str, Any]:
    """Return facts about the machine on which the figures were measured."""
    return {"cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()}
