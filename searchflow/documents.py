"""YAML files that people write: read into typed structs, with errors that name file, line and field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from searchflow.errors import ConfigurationError
from searchflow.settings import ROOT

T = TypeVar("T")


def read(path: Path, kind: type[T]) -> tuple[T, str]:
    """Read a file into a struct. Return the struct and the file's text, in which `line_of` finds lines.

    Raises:
        ConfigurationError: the file is not there, not YAML, or not of that shape; names the line and the field.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise at_line(path, 1, "the file", f"cannot be read ({error.strerror})") from None
    try:
        document: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        raise at_line(path, line, "the file", str(getattr(error, "problem", "it is not YAML"))) from None
    try:
        return msgspec.convert(document, kind), text
    except msgspec.ValidationError as error:
        raise invalid(path, text, error) from None


def invalid(
    path: Path, text: str, error: msgspec.ValidationError, within: Sequence[str | int] = ()
) -> ConfigurationError:
    """Make an error of what msgspec found, with its line in the file."""
    problem, _, place = str(error).partition(" - at `$")
    steps = list(within)
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", place):
        steps.append(int(index) if index else name)
    named = re.search(r"(?:unknown|required) field `(\w+)`", problem)
    return wrong(path, text, [*steps, named.group(1)] if named else steps, problem)


def wrong(path: Path, text: str, steps: Sequence[str | int], problem: str) -> ConfigurationError:
    """Make an error about the field that `steps` lead to."""
    dotted = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    return at_line(path, line_of(text, steps), dotted or "the file", problem)


def at_line(path: Path, line: int, what: str, problem: str) -> ConfigurationError:
    """Make an error about one line of a file."""
    place = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    problem = (problem[:1].lower() + problem[1:]).rstrip(".")
    problem += "" if problem.endswith("?") else "."
    return ConfigurationError(f"{place}, line {line}, {what}", problem, "Correct the file, then run again.")


def line_of(text: str, steps: Sequence[str | int]) -> int:
    """Return the line of the field that `steps` lead to, or of its nearest parent that the file has."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = 1
    for step in steps:
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == step), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line
