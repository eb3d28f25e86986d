"""The export of a table as CSV for people outside: without personal columns, and with pseudonyms for user ids.

No cell of it is one that a spreadsheet would run.
"""

from __future__ import annotations

import csv
from pathlib import Path

from searchflow import warehouse
from searchflow.errors import NotFoundError
from searchflow.ops import audit_log
from searchflow.privacy.masking import pseudonym
from searchflow.quoting import identifier
from searchflow.settings import Settings
from searchflow.transformation import marks
from searchflow.transformation.lineage import lineage_of_all

IDENTIFIERS = frozenset({"user_id", "visitor_id", "idempotency_key"})
"""The names of columns that mean a user in every table, also in one of your own."""
BLOCK = 10_000
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""The beginnings by which a spreadsheet takes a cell for a formula; an apostrophe makes it text (OWASP: CSV injection)."""


def export(settings: Settings, table: str, path: Path) -> int:
    """Write `table` to a CSV file. Return the number of rows.

    Raises:
        NotFoundError: there is no such table.
    """
    with warehouse.connect(settings, read_only=True) as connection:
        left_out = {*marks.personal_columns(settings, connection).get(table, {}), *marks.SENT.get(table, ())}
        users = IDENTIFIERS | marks.identifying(lineage_of_all(settings)).get(table, set())
        known = [
            row[0]
            for row in connection.execute(
                "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_catalog = ?",
                [warehouse.CATALOG],
            ).fetchall()
        ]
        if table not in known:
            raise NotFoundError("table", table, known)
        described = connection.execute(f"DESCRIBE {table}").fetchall()
        columns = [row[0] for row in described if row[0] not in left_out]
        masked = {row[0] for row in described if row[0] in users and row[1] == "VARCHAR"}
        quoted = ", ".join(identifier(column) for column in columns)
        audit_log.append(settings, "export", table, detail=f"columns {', '.join(columns)}")
        found = connection.execute(f"SELECT {quoted} FROM {table}")
        rows = 0
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            while block := found.fetchmany(BLOCK):
                writer.writerows([_cells(settings, columns, masked, row) for row in block])
                rows += len(block)
    return rows


def _cells(settings: Settings, columns: list[str], masked: set[str], row: tuple[object, ...]) -> list[object]:
    return [
        pseudonym(settings, str(value)) if column in masked and value is not None else harmless(value)
        for column, value in zip(columns, row, strict=True)
    ]


def harmless(value: object) -> object:
    """Return a value that a spreadsheet shows and never runs; numbers stay numbers."""
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value
