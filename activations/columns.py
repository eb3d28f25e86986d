"""Columns into and out of PostgreSQL by COPY, without a Python object per value."""

from __future__ import annotations

import io
from collections.abc import Sequence

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from psycopg import sql

# COPY reads an unquoted empty value as null and a quoted one as an empty text: the file must tell them apart.
_WRITE = pa.csv.WriteOptions(include_header=False, quoting_style="all_valid")


def as_csv(table: pa.Table) -> bytes:
    """The rows as CSV that COPY understands; all values as texts."""
    texts = [
        column
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        else pc.cast(column, pa.string())
        for column in table.columns
    ]
    buffer = io.BytesIO()
    pa.csv.write_csv(pa.table(texts, names=table.column_names), buffer, _WRITE)
    return buffer.getvalue()


def copy_in(cursor: psycopg.Cursor, table: str, rows: pa.Table) -> None:
    """Append `rows` to `table` (a temporary one of ours) by COPY."""
    names = sql.SQL(", ").join(map(sql.Identifier, rows.column_names))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(sql.Identifier(table), names)
    with cursor.copy(statement) as copy:
        copy.write(as_csv(rows))


def copy_out(cursor: psycopg.Cursor, query: sql.Composed, names: Sequence[str]) -> pa.Table:
    """The answer of `query` as texts."""
    buffer = io.BytesIO()
    with cursor.copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, FORCE_QUOTE *)").format(query)) as copy:
        for chunk in copy:
            buffer.write(chunk)
    if not buffer.tell():
        return pa.table({name: pa.array([], pa.string()) for name in names})
    buffer.seek(0)
    return pa.csv.read_csv(
        buffer,
        read_options=pa.csv.ReadOptions(column_names=list(names)),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types={name: pa.string() for name in names},
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        ),
    )
