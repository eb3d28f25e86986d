"""The check that the commands of a page exist, with the options that it gives them. It asks the programs themselves."""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

_ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*=")
_ANY = re.compile(r"^(…|\.\.\.|[A-Z_]{2,}|<.*|\[.*)$")
"""The words that stand for something else: `SYNC`, `<name>`, `...`."""
_SEPARATORS = frozenset("();&|")
_TARGET = re.compile(r"^([a-z][\w-]*):(?!=)", re.MULTILINE)


def simple_commands(line: str) -> list[list[str]]:
    """Return the commands of one shell line as words, without assignments before them and redirections after them.

    >>> simple_commands("A=1 searchflow demo --json > out && make test  # both")
    [['searchflow', 'demo', '--json'], ['make', 'test']]
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    found: list[list[str]] = [[]]
    skip = False
    for word in lexer:
        if set(word) <= _SEPARATORS:
            found.append([])
        elif set(word) <= set("<>&"):
            skip = True
        elif skip:
            skip = False
        elif found[-1] or not _ASSIGNMENT.match(word):
            found[-1].append(word)
    return [words for words in found if words]


def wrong_commands(words: list[str], root: Path) -> Iterator[str]:
    """Yield what is wrong with a call of `searchflow`, `sqlmesh` or `make`; calls of other programs are not checked."""
    program = words[0].removeprefix(".venv/bin/")
    if program == "searchflow":
        yield from _wrong_call(program, _searchflow(), words[1:])
    elif program == "sqlmesh":
        yield from _wrong_call(program, _sqlmesh(), words[1:])
    elif program == "make":
        yield from _wrong_targets(words[1:], root)


def _wrong_targets(words: list[str], root: Path) -> Iterator[str]:
    targets = set(_TARGET.findall((root / "Makefile").read_text(encoding="utf-8")))
    for word in words:
        if word not in targets and not word.startswith("-") and not _ASSIGNMENT.match(word) and not _ANY.match(word):
            yield f"there is no target `make {word}`{_closest(word, targets)}"


def _wrong_call(name: str, command: Any, words: list[str]) -> Iterator[str]:
    """Follow the words through a click command (or Typer's, which has the same shape) and yield what is wrong."""
    rest = iter(words)
    for word in rest:
        if word == "--" or _ANY.match(word):
            continue
        if word.startswith("-") and len(word) > 1:
            option, equals, _ = word.partition("=")
            known = _options(command)
            if option not in known:
                yield f"`{name}` has no option {option}{_closest(option, known)}"
            elif not equals and not known[option]:
                next(rest, None)
        elif commands := getattr(command, "commands", None):
            if word not in commands:
                yield f"there is no command `{name} {word}`{_closest(word, commands)}"
                return
            name, command = f"{name} {word}", commands[word]


def _options(command: Any) -> dict[str, bool]:
    """Return option -> whether it is a flag, which takes no value."""
    known = {"--help": True}
    for parameter in command.params:
        if parameter.param_type_name == "option":
            names = [*parameter.opts, *parameter.secondary_opts]
            known |= dict.fromkeys(names, bool(parameter.is_flag or parameter.count))
    return known


def _closest(word: str, known: Any) -> str:
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


@cache
def _searchflow() -> Any:
    import typer

    from searchflow.cli.app import app

    return typer.main.get_command(app)


@cache
def _sqlmesh() -> Any:
    with warnings.catch_warnings(action="ignore"):  # SQLMesh imports parts of libraries that are deprecated
        from sqlmesh.cli.main import cli

    return cli
