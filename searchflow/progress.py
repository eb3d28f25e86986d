"""Progress bars on standard error, for people: silent when standard error is not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Bar:
    """One line of progress: `advance(k)`, or `update(done, total)` when the total becomes known later."""

    def __init__(self, progress: Progress | None, task: TaskID | None) -> None:
        self._progress, self._task = progress, task

    def advance(self, count: float = 1) -> None:
        """Count `count` more as done."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, count)

    def update(
        self, *, done: float | None = None, total: float | None = None, label: str | None = None
    ) -> None:
        """Set what is known."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total, description=label)


@contextmanager
def progress(label: str, total: float | None = None, *, quiet: bool = False) -> Iterator[Bar]:
    """A progress bar for the block. Shows nothing when `quiet` or when nobody watches."""
    if quiet or not sys.stderr.isatty():
        yield Bar(None, None)
        return
    columns = (TextColumn("{task.description:<26}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=False) as shown:
        yield Bar(shown, shown.add_task(label, total=total))
