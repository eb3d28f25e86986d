"""The folders into which DuckDB spills what does not fit into memory: one in the home for each connection, gone with it.

By itself DuckDB uses the folder from which the command was called, and connections that share a folder write into the same
files.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from searchflow.settings import Settings

QUERY, WORK = "query", "work"
SHARE = 0.5
"""How much of the free disk one connection may fill. By itself DuckDB takes 90 % of it, and the rest is soon too little for
PostgreSQL, which ends when it cannot write."""
_numbers = itertools.count(1)


def place(settings: Settings, kind: str = WORK) -> Path:
    """Return a folder that no other connection uses. DuckDB makes it when it spills, and removes it at the end."""
    room = settings.home / "spill"
    room.mkdir(parents=True, exist_ok=True, mode=0o700)
    return room / f"{kind}-{os.getpid()}-{next(_numbers)}"


def most(settings: Settings) -> str:
    """Return how much a connection that opens now may spill, as DuckDB's `max_temp_directory_size`: a power of two, so that
    files which hold it seldom change."""
    there = next(each for each in (settings.home, *settings.home.parents) if each.exists())
    room = int(shutil.disk_usage(there).free * SHARE) // 2**20
    return f"{1 << max(room.bit_length() - 1, 0)}MiB"


@contextmanager
def folder(settings: Settings) -> Iterator[Path]:
    """Yield a folder for a person's query and erase it at the end. First erase what killed processes have left."""
    clean(settings)
    made = place(settings, QUERY)
    made.mkdir(mode=0o700)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def clean(settings: Settings) -> int:
    """Erase the folders of processes that have ended. Return the number of these folders."""
    found = [each for kind in (QUERY, WORK) for each in (settings.home / "spill").glob(f"{kind}-*-*")]
    ended = [each for each in found if not _lives(each)]
    for each in ended:
        shutil.rmtree(each, ignore_errors=True)
    return len(ended)


def _lives(made: Path) -> bool:
    number = made.name.split("-")[1]
    return number.isdigit() and psutil.pid_exists(int(number))
