"""The check that the links and paths of a page lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from searchflow.devtools.markdown import MarkdownPage, Piece, read

MADE_LATER = (".searchflow", ".venv", ".env", ".cache")
"""The files and folders that every installation has, but a fresh clone does not."""
SOURCE_SUFFIXES = (".py", ".sql", ".md", ".toml", ".lock", ".yaml", ".yml")
"""The suffixes by which a bare name is one of our own files; `events.jsonl` or `ad_spend.csv` may be the reader's."""

_PATH = re.compile(r"^[\w.*<>-]+(/[\w.*<>-]+)*/?$")
_PLACEHOLDER = re.compile(r"<[^>]*>")
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:")


def broken_links(page: MarkdownPage, root: Path) -> Iterator[Piece]:
    """Yield relative links to files or headings that are not there."""
    for link in page.links:
        if _SCHEME.match(link.text):
            continue
        name, _, fragment = link.text.partition("#")
        target = (page.path.parent / name).resolve() if name else page.path
        if not target.is_relative_to(root) or not target.exists():
            yield Piece(link.line, f"the link {link.text} leads to nothing")
        elif fragment and target.suffix == ".md" and fragment not in read(target).anchors:
            yield Piece(
                link.line, f"the link {link.text} names a heading that {target.relative_to(root)} does not have"
            )


def unlisted(root: Path) -> Iterator[tuple[Path, Piece]]:
    """Yield pages below `docs` that its index, when there is one, does not link to."""
    index = root / "docs" / "index.md"
    if not index.exists():
        return
    listed = {(index.parent / link.text.partition("#")[0]).resolve() for link in read(index).links}
    for path in sorted(index.parent.rglob("*.md")):
        if path != index and path.resolve() not in listed:
            yield index, Piece(1, f"{path.relative_to(root)} is not listed")


def missing_paths(page: MarkdownPage, root: Path) -> Iterator[Piece]:
    """Yield paths of this repository in backticks that do not exist."""
    for piece in page.code:
        if _is_ours(piece.text, root) and not _exists(piece.text, page.path.parent, root):
            yield Piece(piece.line, f"there is no {piece.text} in the repository")


def missing_arguments(line: int, words: Iterable[str], root: Path) -> Iterator[Piece]:
    """Yield paths in the words of a shell command that do not exist.

    Only words that begin with one of our own folders are checked: the other files are the reader's.
    """
    for word in words:
        first, slash, _ = word.partition("/")
        if slash and (root / first).is_dir() and _is_ours(word, root) and not _exists(word, root, root):
            yield Piece(line, f"there is no {word} in the repository")


def _is_ours(text: str, root: Path) -> bool:
    """Return True for text that looks like a path of this repository. `<table>` and `*` stand for any name."""
    if not _PATH.match(text) or text.startswith(("<", "*")):
        return False
    first, slash, _ = text.partition("/")
    if first in (".", "..", *MADE_LATER):  # ./events is the reader's
        return False
    if not slash:
        return text.endswith(SOURCE_SUFFIXES) and not text.startswith(".")
    return (root / first).exists() or text.rstrip("/").endswith(SOURCE_SUFFIXES)


def _exists(text: str, folder: Path, root: Path) -> bool:
    pattern = _PLACEHOLDER.sub("*", text.rstrip("/"))
    if "/" not in text:  # a bare name may stand for a file further down
        return any(True for _ in _named(pattern, root))
    return any(True for start in (root, folder) for _ in start.glob(pattern))


def _named(pattern: str, root: Path) -> Iterator[Path]:
    for entry in root.iterdir():
        if entry.match(pattern):
            yield entry
        elif entry.is_dir() and not entry.name.startswith("."):
            yield from entry.rglob(pattern)
