"""The check that the documents agree with the code. It prints one line for each problem (file:line: what is wrong).

The exit status is 1 when there is a problem.

    python -m searchflow.devtools.docs            # check
    python -m searchflow.devtools.docs --write    # write the tables that are made from the code first

The check reads README, CONTRIBUTING and docs/. It covers relative links, paths in backticks, `make` targets, commands of
`searchflow` and `sqlmesh` with their options, variables `SEARCHFLOW_...`, the tables made from settings, models,
deployments and commands, and that `docs/index.md` lists each page. It also covers the part of `deploy/prefect.yaml` that is
made from the syncs, and the part of `external_models.yaml` that is made from the event types.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from searchflow.devtools import raw_tables, sync_deployments, tables
from searchflow.devtools.commands import simple_commands, wrong_commands
from searchflow.devtools.markdown import MarkdownPage, Piece, read
from searchflow.devtools.places import broken_links, missing_arguments, missing_paths, unlisted
from searchflow.settings import ROOT

PARTS = (sync_deployments.PART, raw_tables.PART)
PROGRAMS = ("searchflow ", "sqlmesh ", "make ")


def documents(root: Path) -> list[Path]:
    """Return the pages to check. The changelog is not one: it tells of the past."""
    named = [root / name for name in ("README.md", "CONTRIBUTING.md")]
    return [path for path in named if path.exists()] + sorted((root / "docs").rglob("*.md"))


def problems(root: Path = ROOT) -> list[str]:
    """Return every problem of every page, as `file:line: what is wrong`."""
    found = [(path, piece) for path in documents(root) for piece in page_problems(read(path), root)]
    for part in PARTS:
        found += part.stale(root)
    found += tables.stale_tables(root)
    found += unlisted(root)
    return [
        f"{path.relative_to(root)}:{piece.line}: {piece.text}"
        for path, piece in sorted(found, key=lambda each: (each[0], each[1].line))
    ]


def page_problems(page: MarkdownPage, root: Path) -> Iterator[Piece]:
    """Yield what is wrong on one page, apart from tables made from the code."""
    yield from broken_links(page, root)
    yield from missing_paths(page, root)
    yield from tables.unknown_variables(page, root)
    for piece in page.commands:
        yield from _command_problems(piece, root)
        for words in _words(piece):
            yield from missing_arguments(piece.line, words, root)
    for piece in page.code:
        if piece.text.startswith(PROGRAMS):
            yield from _command_problems(piece, root)


def _command_problems(piece: Piece, root: Path) -> Iterator[Piece]:
    for words in _words(piece):
        yield from (Piece(piece.line, said) for said in wrong_commands(words, root))


def _words(piece: Piece) -> list[list[str]]:
    try:
        return simple_commands(piece.text)
    except ValueError:  # an open quote: words of prose, or a command that continues in the next line
        return [piece.text.split()]


def main(arguments: list[str]) -> int:
    """Write the tables when asked, check the documents, print what is wrong, and return the exit status."""
    if "--write" in arguments:
        written = [path for part in PARTS for path in part.write(ROOT)]  # before the tables, which show the files
        for path in written + tables.write_tables(ROOT):
            sys.stdout.write(f"{path.relative_to(ROOT)}: written\n")
    found = problems()
    sys.stdout.write("".join(f"{line}\n" for line in found))
    if not found:
        sys.stdout.write(f"{len(documents(ROOT))} documents agree with the code.\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
