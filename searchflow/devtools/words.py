"""The check that prose is plain English. It prints one line for each finding (file:line: word -> what to write).

    python -m searchflow.devtools.words

The exit status is 1 when there is a finding. The check reads Python, SQL, YAML and Markdown files, but none in a folder
whose name begins with a dot. It looks for words that are not written, docstrings that begin with "The same", and docstrings
of public functions and classes with fewer than four words. The changelog, decisions and findings tell of the past and are
not read. The list is shown in CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from searchflow.settings import ROOT

INSTEAD = {
    "anew": "again, or rebuild",
    "nobody": "no one, no user, no process: name who",
    "somebody": "a person, a user, another process: name who",
    "whoever": "the user, the caller, the process that …",
    "likest": "most similar",
    "how many-th": "ordinal, number",
    "thrice": "three times",
    "lest": "so that … not",
    "is dear": "is costly, is slow",
    "was dear": "was costly, was slow",
    "too dear": "too costly, too slow",
}
"""What is not written, and what to write."""
SUFFIXES = (".py", ".sql", ".yaml", ".yml", ".md")
NOT_READ = (
    "CHANGELOG.md",
    "docs/decisions/",
    "findings/",
    "searchflow/devtools/words.py",
    "tests/models/",
    "tests/platform/test_words.py",
)
"""Files that tell of the past, hold data, or show the words themselves."""
FEWEST_WORDS = 4
SAME = "The same"
_WORD = re.compile(rf"(?<![^\W_]|-)({'|'.join(map(re.escape, INSTEAD))})(?![^\W_]|-)", re.IGNORECASE)
"""Also a part of a name with underscores; not a part of a file's name with hyphens."""
_QUOTES = "\"'`"


@dataclass(frozen=True)
class Unclear:
    """A place where prose is not plain."""

    path: str
    line: int
    what: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what} -> {self.instead}"


def findings(root: Path = ROOT) -> Iterator[Unclear]:
    """Yield every finding in the files below `root`."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(folder, file) for file in sorted(files) if file.endswith(SUFFIXES)):
            name = path.relative_to(root).as_posix()
            if not name.startswith(NOT_READ):
                yield from of_text(name, path.read_text(encoding="utf-8"))


def of_text(name: str, text: str) -> Iterator[Unclear]:
    """Yield the findings of one file."""
    if name != "CONTRIBUTING.md":  # it shows the list
        for number, line in enumerate(text.splitlines(), 1):
            for found in _WORD.finditer(line):
                if (
                    line[found.start() - 1 : found.start()] in _QUOTES
                    and line[found.end() : found.end() + 1] in _QUOTES
                ):
                    continue  # a value, such as the account `nobody`
                yield Unclear(name, number, found[1], INSTEAD[found[1].lower()])
    if name.endswith(".py"):
        yield from _docstrings(name, ast.parse(text))


def _docstrings(name: str, tree: ast.Module) -> Iterator[Unclear]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        said = ast.get_docstring(node)
        if said is None:
            continue
        if said.startswith(SAME):
            yield Unclear(name, node.lineno, f"`{node.name}`: {said[:40]}", "say what it does")
        elif not name.startswith("tests/") and not node.name.startswith("_") and len(said.split()) < FEWEST_WORDS:
            yield Unclear(name, node.lineno, f"`{node.name}`: {said}", "a sentence that can be read alone")


def main() -> int:
    """Print the findings, and return the exit status."""
    found = list(findings())
    sys.stdout.writelines(f"{each}\n" for each in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
