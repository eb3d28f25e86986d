"""Who acts: the name of a command, a flow or a part of one in the audit log and in PostgreSQL's list of sessions.

A process says once, at its start, what it is; libraries and child processes find that in the environment. A part of the
process, such as a run of a stage, says so for a block, and only for its own thread: two runs in one process keep their own
names. A thread that is started inside of such a block takes the name along with `contextvars.copy_context`.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

VARIABLE = "PGAPPNAME"
"""What libpq calls its sessions by, also those that libraries open."""
LONGEST = 63
"""PostgreSQL cuts longer names."""

_inside: ContextVar[str | None] = ContextVar("actor", default=None)


def announce(process: str, run_id: str = "") -> None:
    """Say what this process is. Called once, at its start."""
    os.environ[VARIABLE] = _name(process, run_id)


@contextmanager
def announced(process: str, run_id: str = "") -> Iterator[None]:
    """Say what the block is: every connection that its thread opens in it has this name."""
    before = _inside.set(_name(process, run_id))
    try:
        yield
    finally:
        _inside.reset(before)


def inside() -> str | None:
    """Tell the name of the block around, or None outside of one."""
    return _inside.get()


def current() -> str:
    """Tell the name of the block around, else that of the process."""
    return _inside.get() or os.environ.get(VARIABLE) or f"python|{user()}|"


def user() -> str:
    """Tell the account that runs this process, as the operating system knows it: no variable of the environment is asked."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def option(name: str) -> str:
    r"""Write a name as a part of a libpq connection string, without quotes, which other programs would have to escape.

    >>> option("searchflow ingest|ada|7")
    'application_name=searchflow\\ ingest|ada|7'
    """
    return "application_name=" + re.sub(r"([\\\s])", r"\\\1", name.replace("'", ""))


def _name(process: str, run_id: str) -> str:
    return f"{process}|{user()}|{run_id}"[:LONGEST]
