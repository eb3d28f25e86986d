"""Export of what a tile shows, as a CSV file: columns by their names on the page, and no cell that a spreadsheet would
run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from searchflow.privacy.export import harmless

BYTE_ORDER_MARK = "\ufeff"
"""The byte order mark without which spreadsheets read UTF-8 as another encoding."""


def as_csv(rows: Sequence[Mapping[str, Any]], headers: Mapping[str, str]) -> bytes:
    """Return the rows of a tile with these columns (key -> header), in their order."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([harmless(header) for header in headers.values()])
    writer.writerows([harmless(row.get(name)) for name in headers] for row in rows)
    return (BYTE_ORDER_MARK + text.getvalue()).encode()
