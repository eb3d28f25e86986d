"""Fixes: functions that repair a dead letter before it is validated again, found by name.

A fix is a plain function `def name(document: dict, *, parameter: str) -> dict`, or `def name(line: bytes, …) -> bytes`
for dead letters that are not JSON. The first line of its docstring is its description. The built-in fixes are in
`built_in`. Your own are all public functions in the files of the folder `dead_letter_fixes/` of the repository.
"""

from __future__ import annotations

import importlib.util
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import msgspec

from searchflow.errors import NotFoundError, UsageError
from searchflow.ingestion.dead_letters import built_in
from searchflow.settings import ROOT

FOLDER = ROOT / "dead_letter_fixes"


@dataclass(frozen=True)
class Fix:
    """A function that repairs a dead letter, with the parameters it was given."""

    name: str
    function: Callable[..., Any]
    place: str
    """Where the fix is defined: `built in`, or the file it is in."""
    given: Mapping[str, Any]

    @property
    def takes_bytes(self) -> bool:
        """Return True for a fix of the line itself, False for one of the decoded document."""
        first = next(iter(inspect.signature(self.function).parameters))
        return typing.get_type_hints(self.function).get(first) is bytes

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """Return the parameters that the fix takes: name -> parameter."""
        return dict(list(inspect.signature(self.function).parameters.items())[1:])

    def text(self) -> str:
        """Return the fix as it is written into the dead letter and the audit log: `rename_field(field='term',
        to='query')`.
        """
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.given.items())})"

    def describe(self) -> dict[str, str]:
        """Return one row about the fix, for people."""
        shown = [
            name if parameter.default is parameter.empty else f"{name}={parameter.default!r}"
            for name, parameter in self.parameters.items()
        ]
        what = (inspect.getdoc(self.function) or "").partition("\n")[0]
        takes = "bytes" if self.takes_bytes else "document"
        return {"fix": self.name, "takes": takes, "parameters": ", ".join(shown), "does": what, "from": self.place}

    def apply(self, line: bytes) -> bytes:
        """Return the repaired line. Return the same bytes when the fix changes nothing, or when there is no document to
        repair.

        Raises:
            Exception: whatever the function raises for a value it cannot repair.
        """
        if self.takes_bytes:
            return bytes(self.function(line, **self.given))
        before, again = _document(line), _document(line)
        if before is None or again is None:
            return line
        after = self.function(again, **self.given)
        # repr() also tells 1 from 1.0 and from true.
        return line if repr(after) == repr(before) else msgspec.json.encode(after)


def available(folder: Path = FOLDER) -> dict[str, Fix]:
    """Return every fix by name.

    Raises:
        UsageError: a file in the folder cannot be imported, or two fixes have one name.
    """
    found: dict[str, Fix] = {}
    for function, place in _functions(folder):
        name = function.__name__
        if name in found:
            raise UsageError(f"There are two fixes named {name} ({found[name].place}, {place}). Rename yours.")
        found[name] = Fix(name, function, place, {})
    return found


def load(name: str, texts: Mapping[str, str], folder: Path = FOLDER) -> Fix:
    """Return a fix with its parameters, which are given as text.

    Raises:
        NotFoundError: there is no fix of that name.
        UsageError: a parameter is missing, unknown or has a wrong type.
    """
    fixes = available(folder)
    if name not in fixes:
        raise NotFoundError("fix", name, sorted(fixes), "`searchflow dlq fixes` lists them with their parameters.")
    fix = fixes[name]
    hints = typing.get_type_hints(fix.function)
    missing = [each for each, about in fix.parameters.items() if about.default is about.empty and each not in texts]
    unknown = sorted(set(texts) - set(fix.parameters))
    if missing or unknown:
        wrong = f"needs {missing[0]}" if missing else f"has no {unknown[0]}"
        raise UsageError(f"The fix {name} {wrong}. Its parameters: {', '.join(fix.parameters)} (--param name=value).")
    given = {each: _value(name, each, texts[each], hints.get(each, str)) for each in fix.parameters if each in texts}
    return Fix(fix.name, fix.function, fix.place, given)


def _value(fix: str, name: str, text: str, kind: Any) -> Any:
    """Return a parameter's text as its declared type. For Any, return a JSON value, or else the text itself."""
    if kind is str:
        return text
    try:
        return msgspec.json.decode(text) if kind is Any else msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        choices = ", ".join(map(str, typing.get_args(kind)))
        wanted = f"one of {choices}" if choices else f"a value of type {getattr(kind, '__name__', kind)}"
        raise UsageError(f"{name} of the fix {fix} is {text!r}. Give {wanted}.") from error
    except msgspec.DecodeError:
        return text


def _functions(folder: Path) -> Iterator[tuple[Callable[..., Any], str]]:
    for function in built_in.FIXES:
        yield function, "built in"
    for path in sorted(folder.glob("*.py")):
        for name, value in vars(_module(path)).items():
            own = isinstance(value, FunctionType) and value.__module__ == _module_name(path)
            if own and not name.startswith("_"):
                _check(value, path)
                yield value, f"{folder.name}/{path.name}"


def _check(function: FunctionType, path: Path) -> None:
    first, *rest = [*inspect.signature(function).parameters.values(), None]
    if first is None or any(each and each.kind is not each.KEYWORD_ONLY for each in rest):
        raise UsageError(
            f"{function.__name__} in {path} is not a fix. Write `def {function.__name__}(document: dict, *, "
            "parameter: str) -> dict`, or begin its name with an underscore."
        )


def _module(path: Path) -> Any:
    specification = importlib.util.spec_from_file_location(_module_name(path), path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise UsageError(
            f"{path} cannot be imported: {type(error).__name__}: {error}. Correct or remove it."
        ) from error
    return module


def _module_name(path: Path) -> str:
    return f"searchflow_fixes_{path.stem}"


def _document(line: bytes) -> dict[str, Any] | None:
    try:
        document = msgspec.json.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
