"""Helpers of the PostgreSQL destination: they sort failures, and write documents as DuckDB writes them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import psycopg
from psycopg import sql

from activations.buckets import bucket
from activations.declaration import Field, Sync
from activations.errors import Retryable
from searchflow.errors import ConfigurationError


class BatchRefused(Exception):
    """The batch holds a row that the table will never take."""


def _row_reason(error: psycopg.Error) -> str:
    """Return which rule and column refused a row; never the value, which is in the server's own message."""
    found = error.diag
    context = re.search(r"column (\w+)", found.context or "")
    place = found.constraint_name or found.column_name or (context.group(1) if context else None)
    return f"{type(error).__name__}{f' ({place})' if place else ''}"


@contextlib.contextmanager
def sorted_failures(where: str) -> Iterator[None]:
    """Turn the driver's errors into our own: refuse this row, correct this configuration, or try later."""
    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise BatchRefused(_row_reason(error)) from None
    except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
        raise ConfigurationError(
            where,
            f"PostgreSQL answers {_row_reason(error)}.",
            "Correct the table (its key must be unique), its grants or the sync file.",
        ) from None
    except psycopg.Error as error:  # connection gone, shutdown, deadlock, disk full: may pass
        raise Retryable(f"PostgreSQL: {type(error).__name__}") from error


def refuses_us(error: psycopg.OperationalError) -> bool:
    """Return whether this is a configuration to correct, rather than a server that is away."""
    text = str(error)
    return any(part in text for part in ("authentication failed", "does not exist", "no pg_hba.conf entry"))


def digest_query(sync: Sync, table: sql.Composable, present: sql.Composable) -> sql.Composed:
    """Return the query for rows and digest of each bucket (see `Destination.digests`)."""
    document = _document(sync)
    return sql.SQL(
        "SELECT b AS bucket, count(*) AS rows, sum(('x' || left(md5(d), 16))::bit(64)::bigint) AS digest "
        "FROM (SELECT {} AS b, {} AS d FROM {} WHERE {}) AS documents GROUP BY b"
    ).format(bucket(sql.Identifier(sync.key)), document, table, present)


def _document(sync: Sync) -> sql.Composed:
    parts = [
        sql.SQL("{} || coalesce({}, 'null')").format(sql.Literal(f'{"," if index else "{"}"{each.name}":'), _json(each))
        for index, each in enumerate(sync.fields)
    ]
    return sql.SQL(" || ").join([*parts, sql.Literal("}")])


def _json(field: Field) -> sql.Composed:
    """Return SQL that writes a value as DuckDB's to_json does: texts and times quoted, the rest plain."""
    name = sql.Identifier(field.name)
    if field.type == "timestamp":
        return sql.SQL("'\"' || ({} AT TIME ZONE 'UTC')::text || '\"'").format(name)
    if field.type == "date":
        return sql.SQL("'\"' || {}::text || '\"'").format(name)
    return sql.SQL("to_json({})::text").format(name)
