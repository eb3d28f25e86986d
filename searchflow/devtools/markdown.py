"""A Markdown page as the check of the docs sees it: links, code in backticks, shell commands and headings, by line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

SHELL = frozenset({"bash", "sh", "shell"})
"""Fences whose lines are commands. Output and other languages stand in other fences (`text`, `sql`, `python` ...)."""

_FENCE = re.compile(r"^\s*(`{3,}|~{3,})\s*([\w-]*)")
_CODE = re.compile(r"(`+)(.+?)(?<!`)\1(?!`)")
_LINK = re.compile(r"\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_HTML = re.compile(r"<(?:img|a)\b[^>]*?\b(?:src|href)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*\s*$")
_HERE_DOCUMENT = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")


@dataclass(frozen=True)
class Piece:
    """Some text of a page and the line it stands on, from 1."""

    line: int
    text: str


@dataclass
class Page:
    """What one file holds."""

    path: Path
    lines: list[str]
    links: list[Piece] = field(default_factory=list)
    code: list[Piece] = field(default_factory=list)
    commands: list[Piece] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)


def read(path: Path) -> Page:
    """Read and take apart one file."""
    page = Page(path, path.read_text(encoding="utf-8").splitlines())
    fence, shell = "", False
    block: list[Piece] = []
    for number, line in enumerate(page.lines, 1):
        found = _FENCE.match(line)
        if fence:
            if found and line.strip() == found[1] and found[1].startswith(fence):
                page.commands += _commands(block) if shell else []
                fence, block = "", []
            else:
                block.append(Piece(number, line))
        elif found:
            fence, shell = found[1], found[2] in SHELL
        else:
            _read_line(page, number, line)
    return page


def _read_line(page: Page, number: int, line: str) -> None:
    page.code += [Piece(number, found[2].strip()) for found in _CODE.finditer(line)]
    without_code = _CODE.sub(lambda found: "x" * len(found[0]), line)
    page.links += [Piece(number, found[1]) for found in (*_LINK.finditer(without_code), *_HTML.finditer(without_code))]
    if heading := _HEADING.match(line):
        page.anchors.add(anchor(heading[1]))


def _commands(block: list[Piece]) -> list[Piece]:
    """The command lines of a fence: continued lines joined, what is fed to a command left out."""
    found: list[Piece] = []
    until = ""
    for piece in block:
        if until:
            until = "" if piece.text.strip() == until else until
            continue
        if found and found[-1].text.endswith("\\"):
            found[-1] = Piece(found[-1].line, f"{found[-1].text[:-1].rstrip()} {piece.text.strip()}")
        else:
            found.append(Piece(piece.line, piece.text.strip().removeprefix("$ ")))
        if fed := _HERE_DOCUMENT.search(piece.text):
            until = fed[1]
    return [piece for piece in found if piece.text]


def anchor(heading: str) -> str:
    """The fragment under which a heading is reached, by GitHub's rule."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
