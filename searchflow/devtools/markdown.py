"""A Markdown page as the check of the docs sees it: links, code in backticks, shell commands and headings, by line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

SHELL = frozenset({"bash", "sh", "shell"})
"""The fences whose lines are commands. Output and other languages stand in other fences (`text`, `sql`, `python` ...)."""

_PARSER = MarkdownIt("commonmark").enable("table")
_HTML = re.compile(r"<(?:img|a)\b[^>]*?\b(?:src|href)=\"([^\"]+)\"")
_HERE_DOCUMENT = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")


@dataclass(frozen=True)
class Piece:
    """Some text of a page and the number of its line, from 1."""

    line: int
    text: str


@dataclass
class MarkdownPage:
    """The links, code, commands and headings of one Markdown file."""

    path: Path
    lines: list[str]
    links: list[Piece] = field(default_factory=list)
    code: list[Piece] = field(default_factory=list)
    commands: list[Piece] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)


def read(path: Path) -> MarkdownPage:
    """Read one Markdown file and take it apart."""
    text = path.read_text(encoding="utf-8")
    page = MarkdownPage(path, text.splitlines())
    line, heading = 1, False  # cells of a table do not know their line: it is the row's
    for token in _PARSER.parse(text):
        line = token.map[0] + 1 if token.map else line
        if token.type == "fence" and token.info.split(" ")[0] in SHELL:
            page.commands += _commands(_pieces(line + 1, token.content))
        elif token.type == "html_block":
            page.links += _linked(line, token.content)
        elif token.type == "inline":
            _read_inline(page, line, token)
            page.anchors |= {anchor(token.content)} if heading else set()
        heading = token.type == "heading_open"
    return page


def _read_inline(page: MarkdownPage, line: int, block: Token) -> None:
    """Add to the page what stands in a paragraph, heading or cell that begins on a line."""
    rest = block.content
    for token in block.children or ():
        if token.type in ("softbreak", "hardbreak"):
            line, rest = line + 1, rest.partition("\n")[2]
        elif token.type == "code_inline":
            page.code.append(Piece(line, token.content.strip()))
            written, _, rest = rest.partition(token.markup)[2].partition(token.markup)
            line += written.count("\n")  # the parser has turned line ends into spaces
        elif token.type in ("link_open", "image"):
            page.links.append(Piece(line, str(token.attrGet("href") or token.attrGet("src"))))
        elif token.type == "html_inline":
            page.links += _linked(line, token.content)


def _linked(line: int, html: str) -> list[Piece]:
    """Return what an HTML text of the page links to or shows."""
    return [Piece(piece.line, url) for piece in _pieces(line, html) for url in _HTML.findall(piece.text)]


def _pieces(first: int, text: str) -> list[Piece]:
    return [Piece(number, line) for number, line in enumerate(text.splitlines(), first)]


def _commands(block: list[Piece]) -> list[Piece]:
    """Return the command lines of a fence: continued lines are joined, and what is fed to a command is left out."""
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
    """Return the fragment of a URL that leads to a heading, by GitHub's rule."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
