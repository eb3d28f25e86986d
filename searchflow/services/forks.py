"""Forked children: a child lets go of what belongs to its parent only, is recorded, and ends with its parent.

A lock on a file belongs to the open file, and a lock in PostgreSQL to its connection. A forked child has copies of
both: SQLMesh forks workers to load its models, and those outlive a parent that is killed, because each waits for work
on a pipe that the others hold open. So while a lock is held, a child gets an empty file in the place of what holds it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

FOLDER = "children"
"""The folder in the home's `run` folder that holds one record for each child."""
LOOK_SECONDS = 0.5
"""Seconds between two looks of a child at its parent."""
PATIENCE_SECONDS = 15.0
"""Seconds to wait for an orphan that was told to end: a commit or a model under way is finished."""


@dataclass(frozen=True)
class Identity:
    """What identifies a process. `created` is its start time in seconds since 1970, as the system reports it. A process
    id alone is given again to another process.
    """

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> Identity:
        """Return the process that has this id now.

        Raises:
            psutil.NoSuchProcess: there is none.
        """
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """Return the process if it still runs, else None."""
        try:
            found = psutil.Process(self.pid)
            alive = abs(found.create_time() - self.created) < 1 and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return found if alive else None


@dataclass(frozen=True)
class Child:
    """A process that has no use without its parent."""

    child: Identity
    parent: Identity

    def path(self, run_dir: Path) -> Path:
        """Return the path of the child's record."""
        return run_dir / FOLDER / f"{self.child.pid}.json"

    def write(self, run_dir: Path) -> None:
        """Write the child's record into its file."""
        path = self.path(run_dir)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(asdict(self)))
        partial.replace(path)

    @classmethod
    def read(cls, path: Path) -> Child | None:
        """Read the record in a file, or return None when it is no record."""
        try:
            found = json.loads(path.read_text())
            return cls(Identity(**found["child"]), Identity(**found["parent"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None


_kept: list[int] = []
"""File descriptors that no child may have, once for each block that keeps one."""
_folders: list[Path] = []
"""The `run` folders of the homes that children are recorded in, once a block."""
_self: Identity | None = None


@contextmanager
def children_recorded(run_dir: Path) -> Iterator[None]:
    """Record each child that is forked inside the block below `run_dir`, and let it end with this process."""
    global _self
    if _self is None or _self.pid != os.getpid():
        _self = Identity.of(os.getpid())
    _folders.append(run_dir)
    try:
        yield
    finally:
        _folders.remove(run_dir)


@contextmanager
def not_inherited(descriptor: int, run_dir: Path) -> Iterator[None]:
    """Record children like `children_recorded`, and keep `descriptor` out of them."""
    _kept.append(descriptor)
    try:
        with children_recorded(run_dir):
            yield
    finally:
        _kept.remove(descriptor)


def _let_go() -> None:
    """Let go, in a child: an empty file takes the place of each descriptor, so that closing it later harms nothing
    else.
    """
    if not _folders or _self is None:
        return
    empty = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in set(_kept):
        os.dup2(empty, descriptor, inheritable=False)
    os.close(empty)
    parent = _self
    with contextlib.suppress(OSError, psutil.Error):
        for folder in set(_folders):
            Child(Identity.of(os.getpid()), parent).write(folder)
    threading.Thread(target=_end_with, args=(parent.pid,), name="end-with-parent", daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(1)


os.register_at_fork(after_in_child=_let_go)


def end_orphans(run_dir: Path) -> list[int]:
    """End every recorded child whose parent is gone, and forget those that ended. Return the ids of those it ended."""
    orphans: list[psutil.Process] = []
    for path in sorted((run_dir / FOLDER).glob("*.json")):
        record = Child.read(path)
        process = record.child.process() if record is not None else None
        if record is not None and process is not None:
            if record.parent.process() is not None:
                continue
            orphans.append(process)
        path.unlink(missing_ok=True)
    for signalled in orphans:
        with contextlib.suppress(psutil.NoSuchProcess):
            signalled.terminate()
    _, stubborn = psutil.wait_procs(orphans, timeout=PATIENCE_SECONDS)
    for process in stubborn:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=5)
    return [process.pid for process in orphans]


@contextmanager
def child_of(parent: Identity, run_dir: Path) -> Iterator[None]:
    """Record this process as a child of `parent` inside the block."""
    record = Child(Identity.of(os.getpid()), parent)
    record.write(run_dir)
    try:
        yield
    finally:
        record.path(run_dir).unlink(missing_ok=True)
