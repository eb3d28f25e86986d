"""Where a query for people spills what does not fit into memory: a folder of its own in the home, gone with the query."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from searchflow.settings import Settings

PREFIX = "query-"


@contextmanager
def folder(settings: Settings) -> Iterator[Path]:
    """A folder for this process alone, erased at the end; what killed processes have left is erased first."""
    clean(settings)
    place = settings.home / "spill" / f"{PREFIX}{os.getpid()}"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def clean(settings: Settings) -> int:
    """Erase the folders of processes that have ended. Returns how many there were."""
    ended = [each for each in (settings.home / "spill").glob(f"{PREFIX}*") if not _lives(each)]
    for each in ended:
        shutil.rmtree(each, ignore_errors=True)
    return len(ended)


def _lives(place: Path) -> bool:
    number = place.name.removeprefix(PREFIX)
    return number.isdigit() and psutil.pid_exists(int(number))
