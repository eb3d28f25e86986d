"""A part of a configuration file, between two comments, that `make docs` writes from other files of the repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from searchflow.devtools.markdown import Piece


@dataclass(frozen=True)
class MadePart:
    """The lines of a file between two comments, made from other files."""

    place: Path
    begin: str
    end: str
    lines: Callable[[Path], list[str]]
    """The function that makes the lines for a copy of the repository."""
    differs: str
    """The message of the check when the file holds other lines."""

    def stale(self, root: Path) -> Iterator[tuple[Path, Piece]]:
        """Yield a problem when the file does not hold what the lines are made from."""
        text = self._read(root)
        if text and text != self._written(root, text):
            yield root / self.place, Piece(text.splitlines().index(self.begin) + 1, f"{self.differs} (run `make docs`)")

    def write(self, root: Path) -> list[Path]:
        """Write the part again; return the file when it changed."""
        text = self._read(root)
        if not text or (written := self._written(root, text)) == text:
            return []
        (root / self.place).write_text(written, encoding="utf-8")
        return [root / self.place]

    def _read(self, root: Path) -> str:
        """Return the file's text; empty when there is no such file, or no such part in it."""
        path = root / self.place
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return text if self.begin in text else ""

    def _written(self, root: Path, text: str) -> str:
        lines = text.splitlines()
        begin = lines.index(self.begin)
        end = lines.index(self.end, begin)
        return "\n".join([*lines[: begin + 1], *self.lines(root), *lines[end:]]) + "\n"
