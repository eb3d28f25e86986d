"""Prose that has to be read twice is found, with what to write instead."""

from __future__ import annotations

from pathlib import Path

from searchflow.devtools import words

PLANTED = '''"""Whoever asks gets the rows anew."""


def look():
    """The same."""


class Found:
    """See it."""

    def _short(self):
        """Kept private."""

    def rows_of_nobody(self):
        """Return the account "nobody"."""
'''


def test_each_kind_is_found_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / ".home").mkdir()
    for name in ("module.py", "CHANGELOG.md", "notes.txt", ".home/page.md"):
        (tmp_path / name).write_text(PLANTED)
    (tmp_path / "model.sql").write_text("/* A row a user, whoever it is */\nSELECT 1 AS one\n")
    assert [(each.path, each.line, each.what.partition(":")[0]) for each in words.findings(tmp_path)] == [
        ("model.sql", 1, "whoever"),
        ("module.py", 1, "Whoever"),
        ("module.py", 1, "anew"),
        ("module.py", 14, "nobody"),
        ("module.py", 4, "`look`"),
        ("module.py", 8, "`Found`"),
    ]


def test_a_finding_says_what_to_write() -> None:
    [found] = words.of_text("page.md", "Made anew.")
    assert str(found) == "page.md:1: anew -> again, or rebuild"
