"""Lines as one text are the lines."""

from __future__ import annotations

import polars as pl
import pytest

from generators.lines import Lines

ROWS = [b"one", b"", b"\xff\xfe not text", "hôtel".encode(), b"five"]


COLUMNS = (
    pl.Series(ROWS),
    pl.Series([b"zero", *ROWS])[1:],
    pl.concat([pl.Series(ROWS[:2]), pl.Series(ROWS[2:])], rechunk=False),
)


@pytest.mark.parametrize("column", COLUMNS)
def test_each_line_ends_with_a_newline_and_each_entry_without(column: pl.Series) -> None:
    lines = Lines.of(column)
    assert len(lines) == len(ROWS)
    assert bytes(lines.text) == b"".join(row + b"\n" for row in ROWS)
    for size in (1, 2, 3, 5, 100):
        entries = list(lines.entries(size))
        assert [row for text, _ in entries for row in bytes(text).split(b"\n")] == ROWS
        assert [count for _, count in entries] == [len(ROWS[first : first + size]) for first in range(0, 5, size)]


def test_no_lines_are_no_text() -> None:
    lines = Lines.of(pl.Series([], dtype=pl.Binary))
    assert (len(lines), bytes(lines.text), list(lines.entries(500))) == (0, b"", [])
