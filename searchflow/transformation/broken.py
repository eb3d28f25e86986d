"""Broken files: a file of the SQLMesh project that does not load is reported in one line, with the file, the line and
the reason.

SQLMesh's own text goes over several lines with a piece of SQL between, and for some kinds of files it does not name the
file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from searchflow.errors import ConfigurationError, SearchFlowError

HEADER = re.compile(r"Failed to load [\w ]+ from file '([^']+)':")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
LINE = re.compile(r"\bline:? (\d+)", re.IGNORECASE)
WHERE = re.compile(r"\.? Line \d+, Col: \d+\.?|\(\S+, line \d+\)|\bin \"[^\"]*\", line \d+, column \d+| at '[^']+'$")
MACROS = "Failed to resolve macros for"
"""The text behind which SQLMesh writes the whole statement, and the reason last."""
LONGEST = 300


@contextmanager
def unbroken(root: Path) -> Iterator[None]:
    """Turn whatever the files in `root` raise while the block loads them into an error that names the file.

    Raises:
        ConfigurationError: a file does not load. Errors of the servers stay what they are.
    """
    import duckdb
    import psycopg2

    try:
        yield
    except (SearchFlowError, duckdb.Error, psycopg2.Error, MemoryError):
        raise
    except Exception as error:  # files of the project are programs, too: they may raise anything
        path, line, reason = explain(error, root)
        place = f"{path}, line {line}" if line else path
        raise ConfigurationError(
            place, f"the SQLMesh project does not load: {reason.rstrip('.')}.", "Correct the file; nothing was changed."
        ) from error


def explain(error: Exception, root: Path) -> tuple[str, int | None, str]:
    """Return the file, relative to `root`, the line where it is known, and the reason in one line."""
    text = COLOURS.sub("", str(error))
    named = HEADER.findall(text)
    path, line = (Path(named[-1]), None) if named else _place(error, root)
    raised = _innermost(error)
    if isinstance(raised, SyntaxError) and raised.lineno:
        path, line = Path(raised.filename or path), raised.lineno
    elif line is None:
        line = _line(text) or _line_in(raised, path)
    reason = _reason(HEADER.sub("", text))
    if not isinstance(raised, SyntaxError) and raised.__class__.__module__ == "builtins":
        reason = f"{type(raised).__name__}: {reason}"
    return _relative(path, root), line, reason


def _innermost(error: BaseException) -> BaseException:
    """Return the error that a file raised: SQLMesh raises its own error behind it."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error


def _line(text: str) -> int | None:
    found = LINE.search(text)
    return int(found[1]) if found else None


def _line_in(error: BaseException, path: Path) -> int | None:
    """Return the line where the file itself raised the error, for a file that is a program."""
    lines = [number for name, number, _ in _frames(error.__traceback__) if Path(name) == path]
    return lines[-1] if lines else None


def _place(error: BaseException, root: Path) -> tuple[Path, int | None]:
    """Return the file of the project that was run or read last when the error was raised."""
    found: tuple[Path, int | None] = (root, None)
    for name, number, values in _frames(error.__traceback__):
        if Path(name).is_relative_to(root) and ".venv" not in Path(name).parts:
            found = Path(name), number
        for value in (values.get("path"), values.get("source")):
            if isinstance(value, Path) and value.is_relative_to(root) and value.is_file():
                found = value, None
    return found


def _frames(traceback: TracebackType | None) -> Iterator[tuple[str, int, dict[str, object]]]:
    while traceback is not None:
        frame = traceback.tb_frame
        yield frame.f_code.co_filename, traceback.tb_lineno, frame.f_locals
        traceback = traceback.tb_next


def _reason(text: str) -> str:
    paragraphs = [" ".join(WHERE.sub("", part).split()) for part in re.split(r"\n\s*\n", text) if part.strip()]
    if any(part.startswith(MACROS) for part in paragraphs):
        reason = paragraphs[-1]
    else:
        cleaned = [" ".join(WHERE.sub("", each).split()).rstrip(".:") for each in text.splitlines()]
        lines = [each for each in cleaned if each]
        first = next((number for number, each in enumerate(text.strip().splitlines()) if "Col: " in each), None)
        reason = lines[0] if first == 0 and lines else ": ".join(dict.fromkeys(lines[:3]))
    return reason[:LONGEST] or "it does not say why"


def _relative(path: Path, root: Path) -> str:
    if path == root:
        return "config.yaml, models/"
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
