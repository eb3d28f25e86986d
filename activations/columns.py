"""Columns into and out of PostgreSQL by COPY, without a Python object per value."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from psycopg import sql


def as_csv(table: pa.Table, *, header: bool = False) -> bytes:
    """Return the rows as CSV that COPY understands; all values are texts."""
    texts = [
        column
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        else pc.cast(column, pa.string())
        for column in table.columns
    ]
    buffer = io.BytesIO()
    # COPY reads an unquoted empty value as null and a quoted one as an empty text: the file must tell them apart.
    options = pa.csv.WriteOptions(include_header=header, quoting_style="all_valid")
    pa.csv.write_csv(pa.table(texts, names=table.column_names), buffer, options)
    return buffer.getvalue()


def from_csv(source: io.BytesIO, names: Sequence[str] | None) -> pa.Table:
    """Read CSV that COPY wrote, with all values as texts. `names` None: the names stand in the first line."""
    if names is None:
        names = next(csv.reader([source.readline().decode()]))
        source.seek(0)
        reading = pa.csv.ReadOptions()
    else:
        reading = pa.csv.ReadOptions(column_names=list(names))
    return pa.csv.read_csv(
        source,
        read_options=reading,
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types={name: pa.string() for name in names},
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        ),
    )


def copy_in(cursor: psycopg.Cursor, table: str, rows: pa.Table, *, schema: str = "pg_temp") -> None:
    """Append `rows` to `table` (a temporary one, unless a schema is named) by COPY."""
    names = sql.SQL(", ").join(map(sql.Identifier, rows.column_names))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(sql.Identifier(schema, table), names)
    with cursor.copy(statement) as copy:
        copy.write(as_csv(rows))


def copy_out(cursor: psycopg.Cursor, query: sql.Composed, names: Sequence[str]) -> pa.Table:
    """Return the answer of `query`, with all values as texts."""
    buffer = io.BytesIO()
    with cursor.copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, FORCE_QUOTE *)").format(query)) as copy:
        for chunk in copy:
            buffer.write(chunk)
    if not buffer.tell():
        return pa.table({name: pa.array([], pa.string()) for name in names})
    buffer.seek(0)
    return from_csv(buffer, names)
