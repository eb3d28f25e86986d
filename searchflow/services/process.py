"""Background processes: they start detached, their process ids are remembered, and each is stopped by that id and
nothing else.

A record in `<home>/run/<name>.json` holds the process id and its start time, so that a number reused by the operating
system is never taken for one of our own processes.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import psutil

from searchflow.errors import BusyError, SearchFlowError, ServiceError, StorageError, is_disk_full
from searchflow.services import forks, waiting
from searchflow.settings import Settings

UNIX_SOCKET_PATH_LIMIT = 100
"""The limit of a socket's path in bytes. Linux allows 107 and macOS 103 for the whole path."""
NOTING_SECONDS = 1.0
"""Seconds that Prefect's runner needs to report a run that ended before the runner is told to end itself."""
NO_ROOM_BYTES = 16 * 2**20
"""The least free space on PostgreSQL's disk. With less, it cannot begin its next write-ahead segment (16 MiB by
default), and ends.
"""
ROOMS = ("run", "logs", "feeds", "reports", "lake", "quality", "answer_key", "valkey", "prefect")
"""Folders of the home, for this account only: they hold people's data, or could."""


@dataclass(frozen=True)
class Account:
    """Another account to run a process as. Its group goes with it: ours must not decide what the process may read."""

    uid: int
    gid: int

    def as_popen(self) -> dict[str, Any]:
        """Return the arguments of `subprocess.Popen` for this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


_children: list[subprocess.Popen[bytes]] = []
"""Processes that this one started. They outlive it; while it lives, they are reaped when they end."""


@dataclass(frozen=True)
class ProcessRecord:
    """A process that we started.

    `created` is its start time in seconds since 1970, as the system reports it. `home` is the home that it belongs to:
    the records of a copied home speak of another home's processes.
    """

    name: str
    pid: int
    created: float
    home: str = ""


def _record_path(settings: Settings, name: str) -> Path:
    return settings.run_dir / f"{name}.json"


def record(settings: Settings, name: str, pid: int) -> ProcessRecord:
    """Remember a process under `name`."""
    entry = ProcessRecord(name, pid, psutil.Process(pid).create_time(), os.path.realpath(settings.home))
    path = _record_path(settings, name)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(entry)))
    partial.replace(path)
    return entry


def running(settings: Settings, name: str) -> ProcessRecord | None:
    """Return the record of `name` if that very process still runs, else None."""
    try:
        entry = ProcessRecord(**json.loads(_record_path(settings, name).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    alive = forks.Identity(entry.pid, entry.created).process() is not None
    ours = entry.home in ("", os.path.realpath(settings.home))  # an older version recorded none
    return entry if alive and ours else None


def recorded(settings: Settings) -> list[str]:
    """Return the names of everything recorded under this home, running or not."""
    return sorted(path.stem for path in settings.run_dir.glob("*.json"))


def stop(settings: Settings, name: str, *, signal: int, patience: float = 20.0, children_first: bool = False) -> bool:
    """Send `signal` to the recorded process, wait, and send SIGKILL if it does not end. Return True when a process was
    stopped.

    With `children_first`, what the process started is asked to end before it: for a process that would kill its
    children.
    """
    entry = running(settings, name)
    if entry is not None:
        process = psutil.Process(entry.pid)
        if children_first:
            _end_children(process, patience)
        children = process.children(recursive=True)
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal)
        if not _ended(process, patience):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
            _ended(process, 10)
        for orphan in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.terminate()
        psutil.wait_procs(children, timeout=15)  # a commit or a model under way is finished
        reap()
    _record_path(settings, name).unlink(missing_ok=True)
    return entry is not None


def _ended(process: psutil.Process, seconds: float) -> bool:
    """Wait for a process to end.

    A zombie has ended: the process that started it (a follower that still runs) has not asked for it.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def reap() -> None:
    """Collect the processes that this one started and that have ended: until then the system keeps their ids."""
    _children[:] = [child for child in _children if child.poll() is None]


def _end_children(process: psutil.Process, patience: float) -> None:
    """Send SIGTERM to what the process started, and wait. The process stays, so that it can note how they ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = process.children(recursive=True)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.terminate()
        psutil.wait_procs(children, timeout=patience)
        if children:
            time.sleep(NOTING_SECONDS)


def spawn(
    settings: Settings,
    name: str,
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    account: Account | None = None,
) -> ProcessRecord:
    """Start `command` in a session of its own, its output in `<home>/logs/<name>.log`, and record it."""
    settings.logs_dir.mkdir(parents=True, exist_ok=True)
    with (settings.logs_dir / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=True,
            **(account.as_popen() if account else {}),
        )
    _children.append(process)
    try:
        return record(settings, name, process.pid)
    except psutil.NoSuchProcess:
        raise failed_start(settings, name) from None


def failed_start(settings: Settings, name: str) -> ServiceError | StorageError:
    """Return the error for a server that ended during its start, with the last line of its log."""
    path = settings.logs_dir / f"{name}.log"
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    last = lines[-1].strip() if lines else "it said nothing"
    tail = OSError(" ".join(lines[-5:]))
    if is_disk_full(tail):
        return disk_full(settings)
    return ServiceError(
        f"The embedded {name} did not start: {last}. Read {path}, or set a URL to a server of your own."
    )


def out_of_room(settings: Settings) -> bool:
    """Return True when the disk of the home has no room for a server to write."""
    return settings.home.is_dir() and shutil.disk_usage(settings.home).free < NO_ROOM_BYTES


def away(settings: Settings, message: str) -> SearchFlowError:
    """Return the error for an embedded server that does not answer: `message`, unless a full disk has ended it."""
    return disk_full(settings) if out_of_room(settings) else ServiceError(message)


def disk_full(settings: Settings) -> StorageError:
    """Return the one-line error for a full disk."""
    return StorageError(
        f"The disk that holds {settings.home} is full. Free some space, or set SEARCHFLOW_HOME to another disk, "
        "and run the same command again: nothing is lost."
    )


def wait_until(ready: Callable[[], bool], *, seconds: float, alive: Callable[[], bool], pause: float = 0.02) -> bool:
    """Poll `ready()` until it is true. Return False when `alive()` turns false or the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ready():
            return True
        if not alive():
            return ready()
        time.sleep(pause)
    return False


def socket_dir(settings: Settings, name: str) -> Path:
    """Return a folder for Unix sockets: inside the home or, where that path is too long for a socket, under /tmp."""
    inside = settings.home / name
    if len(str(inside / ".s.PGSQL.5432.lock").encode()) <= UNIX_SOCKET_PATH_LIMIT:
        return inside
    digest = hashlib.sha256(str(settings.home).encode()).hexdigest()[:12]
    short = Path("/tmp")  # noqa: S108 (our own folders in it are 0700)
    return short / f"searchflow-{os.getuid()}-{digest}" / name


def make_private(folder: Path) -> None:
    """Make a folder that only this account may enter, and those above it that are missing.

    Raises:
        StorageError: it is a link, or belongs to another account. In /tmp any account could have made it first.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
    shared = Path("/tmp")  # noqa: S108
    for each in (folder, *folder.parents):
        if each.parent == shared:
            found = each.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                raise StorageError(f"{each} is not a folder of this account alone. Remove it, then run the same again.")


def prepare_home(settings: Settings) -> None:
    """Make the home folder and the folders in it.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        settings.home.parent.mkdir(parents=True, exist_ok=True)
        for folder in (settings.home, *(settings.home / room for room in ROOMS)):
            folder.mkdir(mode=0o700, exist_ok=True)  # a mode that a user gave it on purpose stays
        probe = settings.run_dir / f".probe-{os.getpid()}"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(settings) from error
        raise StorageError(
            f"The home folder {settings.home} cannot be written ({error.strerror}). "
            "Set SEARCHFLOW_HOME to a folder of your own."
        ) from error


@contextlib.contextmanager
def locked(settings: Settings, name: str, *, wait: bool, busy: str = "") -> Iterator[None]:
    """Hold `<home>/run/<name>.lock`.

    The system releases the lock when the process ends, however it ends, also when children that it forked live on.

    A process that waits has its turn before a holder that lets go and comes again: the first of those who wait holds a
    second lock. After five seconds the wait says which process holds the lock.
    """
    with _lock_file(settings, name, "lock") as handle:
        if wait:
            with _lock_file(settings, name, "turn") as turn:
                for each in (turn, handle):
                    waiting.wait_for(functools.partial(_taken, each), whom=lambda: _holder(handle, name).sentence())
        elif not _taken(handle):
            raise BusyError(busy.format(pid=_holder(handle, name).pid))
        handle.seek(0)
        handle.truncate()
        handle.write(f"{os.getpid()}\n{waiting.command()}\n")
        handle.flush()
        forks.end_orphans(settings.run_dir)
        yield


@contextlib.contextmanager
def _lock_file(settings: Settings, name: str, suffix: str) -> Iterator[IO[str]]:
    """Open the file of a lock, which no forked child has."""
    with (
        (settings.run_dir / f"{name}.{suffix}").open("a+") as handle,
        forks.not_inherited(handle.fileno(), settings.run_dir),
    ):
        yield handle


def _taken(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock, as the lock's file says. The file is written when the lock is taken."""

    lock: str
    pid: str
    command: str
    since: datetime

    def sentence(self) -> str:
        """Return a sentence for a process that waits."""
        return waiting.sentence(self.lock, self.pid, self.command, self.since)


def _holder(handle: IO[str], name: str) -> Holder:
    handle.seek(0)
    pid, command, *_ = [*handle.read().split("\n"), "", ""]
    return Holder(name, pid or "unknown", command, datetime.fromtimestamp(os.fstat(handle.fileno()).st_mtime, tz=UTC))


@contextlib.contextmanager
def ends_with(settings: Settings, name: str) -> Iterator[None]:
    """Record this process inside the block as one that `down` ends when its parent was killed.

    The parent is the process recorded as `name`. A process with another parent is left alone.
    """
    parent = running(settings, name)
    if parent is None or parent.pid != os.getppid():
        yield
        return
    with forks.child_of(forks.Identity(parent.pid, parent.created), settings.run_dir):
        yield
