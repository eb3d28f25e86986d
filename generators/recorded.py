"""Recorded lines as columns: when each happened, what type it is, and the same line at another time.

DuckDB reads and rewrites a chunk at once. A line whose id or time cannot be read, or whose time no ingestion would accept,
stays byte for byte as it is.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

import duckdb
import polars as pl

from generators.settings import milliseconds
from searchflow.event_types import EVENT_TYPES, NAMES

NAMESPACE = uuid.UUID("3e0d6a70-54a0-5c0b-9a0e-6a2f3f0a5d11")
"""The namespace of new ids, which are UUID version 5 of the old one and the shift: the same replay makes the same ids.
The namespace of new ids, which are UUID version 5 of the old one and the shift: the same replay makes the same ids."""
_BYTES = "".join(f"\\x{byte:02X}" for byte in NAMESPACE.bytes)
_MACROS = (
    f"CREATE MACRO digest(id, ms) AS sha1('{_BYTES}'::BLOB || encode(lower(id) || '+' || ms))",
    """CREATE MACRO uuid5(h) AS h[1:8] || '-' || h[9:12] || '-5' || h[14:16] || '-' ||
       '89ab'[(instr('0123456789abcdef', h[17]) - 1) % 4 + 1] || h[18:20] || '-' || h[21:32]""",
    """CREATE MACRO other(text, id, ms) AS
       CASE WHEN TRY_CAST(id AS UUID) IS NULL THEN text ELSE replace(text, id, uuid5(digest(id, ms))) END""",
    """CREATE MACRO stamp(us, old) AS CASE WHEN regexp_matches(old, '[.][0-9]{4}')
       THEN strftime(make_timestamp(us), '%Y-%m-%dT%H:%M:%S.%fZ')
       ELSE strftime(make_timestamp(us), '%Y-%m-%dT%H:%M:%S.%gZ') END""",
    """CREATE MACRO later(day, days) AS coalesce(strftime(TRY_CAST(day AS DATE) + days::INTEGER, '%Y-%m-%d'), day)""",
)
REFERRED = sorted({reference.field for each in EVENT_TYPES.values() for reference in each.references})
"""Fields of any event type that hold the id of another event: each is shifted like the id itself."""
_PATHS = "".join(f", '$.{name}'" for name in REFERRED)
_CALLS = "other(" * len(REFERRED)
_IDS = "".join(f", field[{place}], $ms)" for place, _ in enumerate(REFERRED, 6))
_READ = f"""
    WITH parsed AS (
        SELECT row, text, CASE WHEN json_valid(text) THEN json_extract_string(text, [
            '$.event_type', '$.timestamp', '$.event_id', '$.filters.dates[0]', '$.filters.dates[1]'{_PATHS}]) END AS field
        FROM chunk),
    timed AS (
        SELECT *, CASE WHEN regexp_matches(field[2], 'T.*(Z|[+-][0-9]{{2}}:?[0-9]{{2}})$')
                  THEN epoch_us(TRY_CAST(field[2] AS TIMESTAMPTZ)) END AS us
        FROM parsed)
"""
_TIMES = "SELECT us FROM timed WHERE us BETWEEN $earliest AND $latest"
_LINES = f"""
    SELECT CASE WHEN us BETWEEN $earliest AND $latest THEN us END AS us,
           coalesce(nullif(field[1], ''), regexp_extract(text, '"event_type": ?"([a-z0-9_]+)"', 1)) AS event_type,
           CASE WHEN us BETWEEN $earliest AND $latest AND $ms <> 0 AND TRY_CAST(field[3] AS UUID) IS NOT NULL
                AND contains(text, '"' || field[2] || '"') THEN
               {_CALLS}other(
                   regexp_replace(
                       replace(text, '"' || field[2] || '"', '"' || stamp(us + $ms::BIGINT * 1000, field[2]) || '"'),
                       '"dates"\\s*:\\s*\\[[^\\]]*\\]',
                       coalesce('"dates":["' || later(field[4], $days) || '","' || later(field[5], $days) || '"]', '\\0')),
                   field[3], $ms){_IDS} END AS text
    FROM timed ORDER BY row
"""


@dataclass(frozen=True)
class Limits:
    """The range of times that an ingestion accepts."""

    earliest: datetime
    latest: datetime

    def microseconds(self) -> dict[str, int]:
        """Return the limits as parameters of a query."""
        return {"earliest": milliseconds(self.earliest) * 1000, "latest": milliseconds(self.latest) * 1000}


class Reader:
    """A reader of chunks of lines. It has a DuckDB of its own, in memory."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits.microseconds()
        self._connection = duckdb.connect(config={"threads": 2})
        self._connection.execute("SET TimeZone = 'UTC'")
        for macro in _MACROS:
            self._connection.execute(macro)

    def times(self, lines: list[bytes]) -> pl.Series:
        """Return the times (microseconds) of the lines that have one."""
        return self._ask(_READ + _TIMES, lines, {})["us"]

    def lines(self, lines: list[bytes], shift: int) -> pl.DataFrame:
        """Return one row for each line: us (null: unknown), event_type (a declared one), line; `shift` milliseconds
        later."""
        found = self._ask(_READ + _LINES, lines, {"ms": shift, "days": round(shift / 86_400_000)})
        ours = pl.col("event_type").is_in(NAMES)
        return found.select(
            "us",
            # Rubbish has to go to some stream, and is a dead letter in each.
            pl.when(ours).then("event_type").otherwise(pl.lit(NAMES[0])).alias("event_type"),
            pl.coalesce(pl.col("text").cast(pl.Binary), pl.Series(lines, dtype=pl.Binary)).alias("line"),
        )

    def _ask(self, sql: str, lines: list[bytes], parameters: dict[str, int]) -> pl.DataFrame:
        text = [_text(line) for line in lines]
        chunk = pl.DataFrame({"row": range(len(text)), "text": text}, schema={"row": pl.Int64, "text": pl.String})
        self._connection.register("chunk", chunk.to_arrow())
        try:
            return self._connection.execute(sql, {**self._limits, **parameters}).pl()
        finally:
            self._connection.unregister("chunk")


def _text(line: bytes) -> str:
    """Return a line as text; one that is not UTF-8 is not JSON to DuckDB, so it stays as it is."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return ""
