"""The name under which a command, a flow or a part of one appears in the audit log and in PostgreSQL's list of sessions.

A process announces its name once, at its start; libraries and child processes find it in the environment. A part of the
process, such as a run of a stage, announces its own name for a block, and only for its own thread: two runs in one process
keep their own names. A thread that is started inside such a block takes the name along with `contextvars.copy_context`.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

VARIABLE = "PGAPPNAME"
"""The environment variable that names libpq's sessions, also those that libraries open."""
LONGEST = 63
"""The length to which names are cut: PostgreSQL cuts longer ones."""

_inside: ContextVar[str | None] = ContextVar("actor", default=None)


def announce(process: str, run_id: str = "") -> None:
    """Name this process in its environment. Call this once, at the start of the process."""
    os.environ[VARIABLE] = _name(process, run_id)


@contextmanager
def announced(process: str, run_id: str = "") -> Iterator[None]:
    """Name the block: every connection that its thread opens inside it has this name."""
    before = _inside.set(_name(process, run_id))
    try:
        yield
    finally:
        _inside.reset(before)


def inside() -> str | None:
    """Return the name of the surrounding block, or None outside such a block."""
    return _inside.get()


def current() -> str:
    """Return the name of the surrounding block, or else the name of the process."""
    return _inside.get() or os.environ.get(VARIABLE) or f"python|{user()}|"


def user() -> str:
    """Return the account that runs this process as the operating system knows it; environment variables do not count."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def option(name: str) -> str:
    r"""Return a name as a part of a libpq connection string, without quotes, which other programs would have to escape.

    >>> option("searchflow ingest|ada|7")
    'application_name=searchflow\\ ingest|ada|7'
    """
    return "application_name=" + re.sub(r"([\\\s])", r"\\\1", name.replace("'", ""))


def _name(process: str, run_id: str) -> str:
    return f"{process}|{user()}|{run_id}"[:LONGEST]
