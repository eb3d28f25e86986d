"""A mart in parts, so that only changed parts are written.

A mart whose rows have a day has one part for each day; another mart has 64 parts, by a hash of the key. A part's digest is
the number of its rows and the sum of their hashes: equal rows in any order have an equal digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from searchflow import warehouse
from searchflow.quoting import identifier

BUCKETS = 64
TYPES = {
    "BOOLEAN": "boolean",
    "SMALLINT": "smallint",
    "INTEGER": "integer",
    "BIGINT": "bigint",
    "FLOAT": "real",
    "DOUBLE": "double precision",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "VARCHAR": "text",
}
"""DuckDB's type -> PostgreSQL's type. Decimals keep their digits; every other type becomes text."""


@dataclass(frozen=True)
class PublishedColumn:
    """A column of a mart that is published."""

    name: str
    type: str

    @property
    def published_type(self) -> str:
        """The column's type in PostgreSQL."""
        if self.type.startswith("DECIMAL"):
            return self.type.replace("DECIMAL", "numeric").lower()
        return TYPES.get(self.type, "text")

    @property
    def expression(self) -> str:
        """The SQL of its value as PostgreSQL takes it: text without NUL characters, lists and structures as text."""
        quoted = identifier(self.name)
        if self.published_type == "text":
            return f"replace({quoted}::VARCHAR, chr(0), '') AS {quoted}"
        return quoted


@dataclass(frozen=True)
class Mart:
    """A table of the lake as it is published: these columns, in these parts."""

    name: str
    columns: tuple[PublishedColumn, ...]

    @property
    def part(self) -> str:
        """The SQL of the part that a row belongs to, an integer: the days since 1970, or a bucket."""
        days = [column.name for column in self.columns if column.type == "DATE"]
        if days:
            return f"coalesce(date_diff('day', DATE '1970-01-01', \"{days[0]}\"), -1)::INTEGER"
        return f'(hash("{self.columns[0].name}") % {BUCKETS})::INTEGER'

    @property
    def shape(self) -> str:
        """A text that changes when the columns or the parts do; the table is then rebuilt."""
        columns = ", ".join(f"{column.name} {column.published_type}" for column in self.columns)
        return f"{columns}; {self.part}; {duckdb.__version__}"

    def digests(self, connection: duckdb.DuckDBPyConnection) -> dict[int, tuple[int, str]]:
        """Return part -> the number of its rows and their digest."""
        names = ", ".join(identifier(column.name) for column in self.columns)
        rows = connection.execute(
            f"SELECT {self.part}, count(*), sum(hash({names}))::VARCHAR FROM {self.name} GROUP BY 1"
        ).fetchall()
        return {part: (count, digest) for part, count, digest in rows}

    def rows(self, connection: duckdb.DuckDBPyConnection, parts: Sequence[int]) -> duckdb.DuckDBPyConnection:
        """Select the rows of these parts, each with its part at the end."""
        shown = ", ".join(column.expression for column in self.columns)
        return connection.execute(
            f"SELECT {shown}, {self.part} AS part FROM {self.name} WHERE list_contains($parts, {self.part})",
            {"parts": list(parts)},
        )


def mart(connection: duckdb.DuckDBPyConnection, name: str, without: Sequence[str]) -> Mart:
    """Describe the table `name` as a mart, without these columns."""
    described = connection.execute(f"DESCRIBE {warehouse.CATALOG}.{name}").fetchall()
    return Mart(name, tuple(PublishedColumn(row[0], row[1]) for row in described if row[0] not in without))
