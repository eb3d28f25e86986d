"""Every error that SearchFlow raises on purpose. Each message is one line and ends with what to do next.

SearchFlowError                  exit status 2: it could not be done as asked
├── UsageError                   the call is wrong: a bad argument, a file that is not there
│   └── NotFoundError            an unknown name (sync, table, suite); lists the known ones
├── ConfigurationError           a setting is missing or wrong; names the variable and where it was looked for
├── BusyError                    another run holds this home folder
├── ServiceError                 a server did not start, does not answer or refuses us
│   └── PortInUseError           another program's process has taken the port
├── StorageError                 the disk is full or a folder cannot be written
├── SourceGapError               the stream was trimmed past our position: events are gone
├── FencedError                  another worker moved the position; this one must stop
└── NegativeAnswer               exit status 1: it ran, and the answer is no
    ├── GateFailed               a quality suite blocks what was asked
    ├── TransformationFailed     a model or one of its audits failed
    ├── BrokenFileError          a file cannot be read to its end; what stood before is stored
    ├── DeliveryFailed           a sync ended with rows that were not delivered
    └── AccountingError          received differs from stored + duplicates + dead letters
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from difflib import get_close_matches


class SearchFlowError(Exception):
    """The base of all errors that a person can act on. The command line ends with `exit_status`."""

    exit_status = 2


class UsageError(SearchFlowError):
    """An error in the call itself: a bad argument, or a file that is not there."""


class NotFoundError(UsageError):
    """The error for an unknown name. The message suggests the closest known name, and lists all of them."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        close = get_close_matches(name, self.known, n=1)
        listed = ", ".join(self.known) or "none"
        guess = f" Did you mean {close[0]}?" if close else ""
        super().__init__(f"No {kind} is called {name!r}.{guess} Known: {listed}.{' ' + hint if hint else ''}")


class ConfigurationError(SearchFlowError):
    """The error for a setting that is missing or cannot be used."""

    def __init__(self, variable: str, problem: str, todo: str) -> None:
        self.variable, self.problem, self.todo = variable, problem, todo
        super().__init__(f"{variable}: {problem} {todo}")


class BusyError(SearchFlowError):
    """The error when another process is doing the same work on the same home folder."""


class ServiceError(SearchFlowError):
    """The error for a server that did not start, does not answer or refuses us."""


class PortInUseError(ServiceError):
    """The error for a port that we were told to listen on and that belongs to another process."""

    def __init__(self, port: int, variable: str, what: str) -> None:
        self.port, self.variable = port, variable
        super().__init__(
            f"Port {port} for the {what} is in use by another program. Stop that program or set {variable} to a free port."
        )


class StorageError(SearchFlowError):
    """The error for a full disk, or for a folder that cannot be written."""


class SourceGapError(SearchFlowError):
    """The error when entries that we had not read yet were removed from the stream."""


class FencedError(SearchFlowError):
    """The error when another worker committed a newer position for the same shard."""


class NegativeAnswer(SearchFlowError):
    """The answer "no" of a command that ran to its end."""

    exit_status = 1


class GateFailed(NegativeAnswer):
    """The error when a quality gate blocks what was asked."""


class TransformationFailed(NegativeAnswer):
    """The error when a model or one of its audits failed."""


class BrokenFileError(NegativeAnswer):
    """The error for a file that cannot be read to its end. What stood before the break is stored; other files are read."""


class DeliveryFailed(NegativeAnswer):
    """The error when a sync ended with rows that were not delivered."""


class AccountingError(NegativeAnswer):
    """The error when the accounting identity does not hold: received = stored + duplicates + dead letters."""


def is_disk_full(error: BaseException) -> bool:
    """Return True when `error`, or what caused it, is a disk (or a quota) that ran full.

    DuckDB, PostgreSQL and Valkey report this as text inside their own errors, so the text is searched too.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        text = str(seen).lower()
        if "no space left on device" in text or "disk quota exceeded" in text or "disk full" in text:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


_STATEMENT = re.compile(r'query\s+".*"\s*:', re.DOTALL)
"""A commit to the catalog: its whole text, which holds the smallest and largest values of columns."""
_VALUE = re.compile(r"""'[^'\n]*'|"[^"\n]*[^"\w.\n][^"\n]*"|Failing row contains .*""")
"""Quoted text other than a plain name."""
_NOISE = ("LINE ", "^", "Consider increasing", "This error signals", "For more information")


def engine_reason(error: BaseException, most: int = 400) -> str:
    """Return what an engine said, in one line: its first line, and what it adds below about the cause.

    DuckLake says only "Failed to commit" in the first line. The reason, the statement and a stack trace follow below. The
    statement and quoted values may hold people's data and are left out.
    """
    first, _, below = str(error).strip().partition("\n")
    below = _VALUE.sub("…", _STATEMENT.sub("query …:", below.partition("Stack Trace")[0]))
    said = [line.strip(" .\t") for line in below.splitlines()]
    kept = [line for line in said if line and not line.startswith(_NOISE)]
    return "; ".join([(first or type(error).__name__)[:300].rstrip("."), *kept])[:most]
