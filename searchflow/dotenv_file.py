"""The file `.env`: whether it is readable, and what it says. Our settings, SQLMesh and Prefect read it."""

from __future__ import annotations

import io
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from searchflow.errors import ConfigurationError


def check(path: Path) -> None:
    """Refuse a file that cannot be read as settings; a missing file is fine.

    Raises:
        ConfigurationError: names the file and the line.
    """
    for binding in parse_stream(io.StringIO(text(path))):
        if binding.error:
            raise ConfigurationError(
                str(path),
                f"line {binding.original.line + _blank_lines(binding.original.string)} is not NAME=value.",
                "Correct the line, or put a # before it.",
            )


def _blank_lines(text: str) -> int:
    """Count the empty lines before a statement; the parser counts them as a part of it."""
    return len(text) - len(text.lstrip("\n"))


def text(path: Path) -> str:
    """Return the text of the file; empty when the file is not there.

    Raises:
        ConfigurationError: the file cannot be read, is not UTF-8, or holds a NUL character.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ConfigurationError(
            str(path), f"cannot be read ({error.strerror}).", "Make it a file that you may read, or remove it."
        ) from None
    try:
        found = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(str(path), f"line {line} is not UTF-8.", "Save the file as UTF-8.") from None
    if "\0" in found:
        raise ConfigurationError(str(path), "holds a NUL character.", "Save the file as plain text in UTF-8.")
    return found


def values(path: Path) -> dict[str, str]:
    """Return name -> value, as every reader of the file sees them."""
    found = dotenv_values(stream=io.StringIO(text(path)))
    return {name: value for name, value in found.items() if value is not None}
