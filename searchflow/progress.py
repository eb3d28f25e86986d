"""Progress bars on standard error, for people. They are silent when standard error is not a terminal.

Bars that overlap (in nested blocks or in threads) share one display.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_lock = threading.Lock()
_shown: Progress | None = None
_users = 0


class Bar:
    """One line of the progress display."""

    def __init__(self, display: Progress | None, task: TaskID | None) -> None:
        self._display, self._task = display, task

    def advance(self, count: float = 1) -> None:
        """Add `count` to what is done."""
        if self._display is not None and self._task is not None:
            self._display.advance(self._task, count)

    def update(self, *, done: float | None = None, total: float | None = None, label: str | None = None) -> None:
        """Set what is done, the total or the label; None leaves a value as it is."""
        if self._display is not None and self._task is not None:
            self._display.update(self._task, completed=done, total=total, description=label)


@contextmanager
def progress(label: str, total: float | None = None, *, quiet: bool = False) -> Iterator[Bar]:
    """Yield a progress bar for the block. It shows nothing when `quiet`, or when standard error is not a terminal."""
    if quiet or not sys.stderr.isatty():
        yield Bar(None, None)
        return
    with _display() as display:
        yield Bar(display, display.add_task(label, total=total))


@contextmanager
def _display() -> Iterator[Progress]:
    global _shown, _users
    with _lock:
        if _shown is None:
            columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            _shown = Progress(*columns, console=Console(stderr=True))
            _shown.start()
        _users += 1
        display = _shown
    try:
        yield display
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                display.stop()
                _shown = None
