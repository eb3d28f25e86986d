"""Content that means harm, for every text of an event: SQL, HTML, Markdown, terminal escapes, formulas, odd Unicode."""

from __future__ import annotations

HOSTILE = {
    "sql": "'; DROP TABLE raw.search_events; --",
    "sql_quoted": 'x" OR "1"="1',
    "script": "<script>window.hacked=1</script>",
    "image": '"><img src=x onerror="window.hacked=1">',
    "markdown": "[go](javascript:window.hacked=1) ![x](http://evil.example/x.png)",
    "template": "{{ 7*7 }} ${7*7} {7*7} %s %(x)s",
    "terminal": "\x1b[2J\x1b]0;hacked\x07\x1b[31m",
    "terminal_8bit": "\x9b31m\x9d0;hacked\x9c",
    "rich": "[red]hacked[/red] [link=http://evil.example]x[/link]",
    "formula": '=HYPERLINK("http://evil.example","x")',
    "formula_plus": "+1+cmd|' /C calc'!A0",
    "formula_at": "@SUM(A1:A9)",
    "formula_minus": "-2+3",
    "formula_wide": "＝1＋1",
    "line_ends": "one\r\ntwo\u2028three\tfour",
    "direction": "abc\u202egnp.exe\u2066",
    "invisible": "a\u200bb\u00adc\ufeff",
    "zalgo": "Z̸̧̢̛" * 40,
    "astral": "👩‍👩‍👧‍👦 𝕏 \U000e0041",
    "path": "../../../../etc/passwd",
    "url": "//evil.example/%00",
    "long": "a" * 2_000,
}
MARKUP = ("<script>window", "<img src=x", 'onerror="window', "](javascript:", "![x](http")
"""What must never stand in a page as it was sent."""
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝")
