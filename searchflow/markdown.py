"""Escapes for text that came from outside, where Markdown is rendered: dashboards and Prefect's artifacts."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+!|~$:^=.@-])")
_ACTIVE = re.compile(r"[\\`*\[\]<>!|~&$]|://|www\.|@|^\s*[#+=>-]|[^\S ]", re.IGNORECASE)


def escaped(text: str) -> str:
    r"""Return the text with every mark escaped: no link, image, HTML or emphasis can come out of it.

    >>> escaped("![x](http://evil)")
    '\\!\\[x\\]\\(http\\://evil\\)'
    """
    return _SPECIAL.sub(r"\\\1", text)


def cell(text: str) -> str:
    r"""Return the text for a cell of a table that programs read too.

    The text stays as it is when it holds nothing that Markdown would render. Otherwise it is escaped and on one line, and
    characters that do not print are made visible.

    >>> cell("marts.fct_search_funnel"), cell("see http://evil"), cell("one\r\ntwo\x1b[2J")
    ('marts.fct_search_funnel', 'see http\\://evil', 'one\\\\r\\\\ntwo\\\\x1b\\[2J')
    """
    visible = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return escaped(visible) if visible != text or _ACTIVE.search(visible) else text
