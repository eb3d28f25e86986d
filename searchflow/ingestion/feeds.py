"""The daily feeds: ad spend and user profiles (CSV or JSON lines files beside the events).

A file is loaded once; its content identifies it. A row that breaks the contract, or that no column can hold, is a dead
letter; the rest of its file is loaded.
"""

from __future__ import annotations

import hashlib
import re
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import duckdb
import msgspec
import pyarrow as pa
from msgspec import Meta, Struct

from searchflow import warehouse
from searchflow.errors import BrokenFileError
from searchflow.events import UNDECODABLE, Amount, Rejection
from searchflow.fetching import first_row
from searchflow.ingestion.commit import Counts, in_transaction, insert_dead_letters
from searchflow.ingestion.cut import CommitGate
from searchflow.ingestion.feed_rows import READ_BYTES, documents
from searchflow.ingestion.file_source import FilePosition, open_content
from searchflow.ingestion.tombstones import USER, Tombstones, rejection
from searchflow.ops import record
from searchflow.settings import Settings

Text = Annotated[str, Meta(min_length=1)]
Total = Annotated[int, Meta(ge=0, lt=10**15)]
"""Impressions and clicks of a day: a thousand times what the largest campaigns have, and sums stay far below a column's end."""
BLOCK_BYTES = 8 * 1024 * 1024
"""Bytes of a file that are in memory at a time: the rows made of them take some fifteen times as much."""
FEED_SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz")


class AdSpend(Struct):
    """The cost of one campaign of one source on one day."""

    spend_date: date
    currency: Text
    cost: Amount
    utm_source: str | None = None
    utm_campaign: str | None = None
    impressions: Total | None = None
    clicks: Total | None = None


class UserProfile(Struct):
    """What a person told us about themselves. Every field but user_id is personal data."""

    user_id: Text
    updated_at: datetime
    email: str | None = None
    name: str | None = None
    locale: str | None = None
    time_zone: str | None = None
    country: str | None = None
    marketing_consent: bool | None = None
    created_at: datetime | None = None


@dataclass(frozen=True)
class Feed:
    """A kind of feed file: how it is recognised, what a row is, and where its rows go."""

    prefix: str
    event_type: str
    row: type[Struct]
    table: str
    columns: dict[str, pa.DataType]


_TIMESTAMP = pa.timestamp("us")
FEEDS = (
    Feed(
        "ad_spend",
        "ad_spend",
        AdSpend,
        "raw.ad_spend",
        {
            "spend_date": pa.date32(),
            "utm_source": pa.string(),
            "utm_campaign": pa.string(),
            "currency": pa.string(),
            "cost": pa.float64(),
            "impressions": pa.int64(),
            "clicks": pa.int64(),
        },
    ),
    Feed(
        "user_profiles",
        "user_profile",
        UserProfile,
        "raw.user_profiles",
        {
            "user_id": pa.string(),
            "email": pa.string(),
            "name": pa.string(),
            "locale": pa.string(),
            "time_zone": pa.string(),
            "country": pa.string(),
            "marketing_consent": pa.bool_(),
            "created_at": _TIMESTAMP,
            "updated_at": _TIMESTAMP,
        },
    ),
)


def feed_files(path: Path) -> list[tuple[Feed, Path]]:
    """Return the feed files at `path` (a file or a folder), oldest name first."""
    entries = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
    return [
        (feed, entry)
        for feed in FEEDS
        for entry in entries
        if entry.is_file() and entry.name.startswith(feed.prefix) and entry.name.endswith(FEED_SUFFIXES)
    ]


def ingest_feeds(
    settings: Settings,
    path: Path,
    *,
    now: datetime,
    on_file: Callable[[str, Counts], None] | None = None,
    on_broken: Callable[[BrokenFileError], None] | None = None,
) -> Counts:
    """Load every feed file at `path` that was not loaded before. Return the counts of all of them.

    A file that cannot be read does not stop the others when `on_broken` is given: `on_broken` hears of it.

    Raises:
        BrokenFileError: a file cannot be read, and there is no `on_broken`.
    """
    total = Counts()
    files = feed_files(path)
    if not files:
        return total
    with warehouse.connect(settings) as connection, CommitGate(settings) as gate:
        for feed, file in files:
            try:
                with gate.commit():
                    counts = _load(connection, feed, file, gate.stamp(lambda: now), gate.tombstones())
            except BrokenFileError as error:
                if on_broken is None:
                    raise
                on_broken(error)
                continue
            total.add(counts)
            if on_file is not None:
                on_file(file.name, counts)
    return total


def _load(connection: duckdb.DuckDBPyConnection, feed: Feed, file: Path, now: datetime, erased: Tombstones) -> Counts:
    """Load a file in one transaction, block by block. The file is read twice, first for the digest that identifies it."""
    try:
        measured = _measure(file)
        key = f"feed:{feed.prefix}:{measured.digest}"
        if not measured.offset or _is_known(connection, key):
            return Counts()
        about = _About(key, measured, str(uuid.uuid4()), now.replace(tzinfo=None))
        return in_transaction(connection, lambda: _write(connection, feed, file, about, erased))
    except (OSError, EOFError, zlib.error) as error:
        raise BrokenFileError(
            f"{file} cannot be read ({error}). Write the file again: nothing of it is stored."
        ) from error


def _measure(file: Path) -> FilePosition:
    """Return where the file ends: its (decompressed) bytes and lines, and their digest."""
    digest, size, lines = hashlib.sha256(), 0, 0
    with open_content(file) as handle:
        while chunk := handle.read(READ_BYTES):
            digest.update(chunk)
            size += len(chunk)
            lines += chunk.count(b"\n")
    return FilePosition(size, lines, digest.hexdigest())


@dataclass(frozen=True)
class _About:
    """What every row of a file has in common."""

    key: str
    end: FilePosition
    batch_id: str
    stamp: datetime


def _write(connection: duckdb.DuckDBPyConnection, feed: Feed, file: Path, about: _About, erased: Tombstones) -> Counts:
    if _is_known(connection, about.key):  # another process loaded the same file meanwhile
        return Counts()
    counts, position = Counts(), about.end.text()
    connection.execute(
        "UPDATE ops.position_file SET version = version + 1, batch_id = ? WHERE source = ?",
        [about.batch_id, record.GUARD],
    )
    connection.execute(
        "INSERT INTO ops.position_file VALUES (?, ?, 1, ?, ?, NULL)", [about.key, position, about.batch_id, about.stamp]
    )
    for rows, refused in _blocks(feed, file, erased):
        letters = erased.blanked(refused)
        _insert(connection, feed, file, rows, about.batch_id, about.stamp)
        insert_dead_letters(connection, about.key, f"file:{file.name}", letters, about.batch_id, about.stamp)
        counts.add(Counts(len(rows) + len(letters), stored=len(rows), dead_letters=len(letters)))
    counts.check()
    record.rows(
        connection,
        "ops.ingestion_batches",
        [
            {
                "batch_id": about.batch_id,
                "shard": "file",
                "event_type": feed.event_type,
                "source": f"file:{file.name}",
                "started_at": about.stamp,
                "committed_at": about.stamp,
                "received": counts.received,
                "stored": counts.stored,
                "duplicates": 0,
                "dead_letters": counts.dead_letters,
                "late": 0,
                "touched_days": [],
                "position": position,
            }
        ],
    )
    return counts


Row = tuple[int, dict[str, Any], Struct]
Letter = tuple[str, bytes, Rejection]


def _blocks(feed: Feed, file: Path, erased: Tombstones) -> Iterator[tuple[list[Row], list[Letter]]]:
    """Yield (rows, dead letters) of a file, about `BLOCK_BYTES` each time."""
    rows, letters, size = list[Row](), list[Letter](), 0
    for line, raw, document in documents(file, feed.columns):
        size += raw.length
        try:
            row = _convert(feed, document)
        except UNDECODABLE as error:
            why = raw.rejection(feed.event_type) if raw.too_large else _rejection(feed, document, error)
            letters.append((str(line), raw.head, why))
        else:
            if isinstance(row, UserProfile) and erased.knows(USER, row.user_id):
                letters.append((str(line), b"", rejection(feed.event_type)))
            else:
                rows.append((line, document, row))
        if size >= BLOCK_BYTES:
            yield rows, letters
            rows, letters, size = [], [], 0
    if rows or letters:
        yield rows, letters


def _is_known(connection: duckdb.DuckDBPyConnection, key: str) -> bool:
    return first_row(connection.execute("SELECT 1 FROM ops.position_file WHERE source = ?", [key])) is not None


_BOOLEANS = {
    "true": True,
    "t": True,
    "1": True,
    "yes": True,
    "false": False,
    "f": False,
    "0": False,
    "no": False,
}


def _convert(feed: Feed, document: dict[str, Any]) -> Struct:
    if "\0" in document:
        raise ValueError(document["\0"])
    values = {name: _truncated(value) if name in _MOMENTS else value for name, value in document.items()}
    consent = values.get("marketing_consent")
    if isinstance(consent, str) and consent.lower() in _BOOLEANS:
        values["marketing_consent"] = _BOOLEANS[consent.lower()]
    row = msgspec.convert(values, feed.row, strict=False)
    for name in _MOMENTS & set(feed.columns):
        _plain(getattr(row, name), name)
    return row


_MOMENTS = {"created_at", "updated_at"}
_FRACTION = re.compile(r"([.,]\d{6})\d+")


def _truncated(value: Any) -> Any:
    """Return a moment as text with no more digits than a column has. msgspec would round it, perhaps into the next day."""
    return _FRACTION.sub(r"\1", value) if isinstance(value, str) else value


def _rejection(feed: Feed, document: dict[str, Any], error: Exception) -> Rejection:
    if "\0" in document:
        reasons = {
            "invalid_json": "the line is not a JSON object, or a column stands in it more than once",
            "invalid_utf8": "the line is not UTF-8",
            "invalid_value": "the line has not as many fields as the header",
        }
        code = document["\0"]
        return Rejection(code, reasons[code], feed.event_type)
    message = str(error).replace("`", "")
    code = (
        "missing_field"
        if "missing required field" in message
        else "wrong_type"
        if ", got " in message
        else "invalid_value"
    )
    return Rejection(code, message, feed.event_type)


def _plain(value: Any, name: str = "the moment") -> Any:
    """Convert moments to UTC without a zone, like every timestamp in the warehouse.

    Raises:
        ValueError: it lies outside the years 1 to 9999 in UTC.
    """
    if isinstance(value, datetime) and value.tzinfo is not None:
        try:
            return value.replace(tzinfo=None) - (value.utcoffset() or timedelta())
        except OverflowError as error:
            raise ValueError(
                f"{name} (a string) is not allowed: Expected a moment in the years 1 to 9999, UTC"
            ) from error
    return value


def _insert(
    connection: duckdb.DuckDBPyConnection,
    feed: Feed,
    file: Path,
    rows: list[tuple[int, dict[str, Any], Struct]],
    batch_id: str,
    stamp: datetime,
) -> None:
    if not rows:
        return
    data = {
        name: pa.array([_plain(getattr(row, name)) for _, _, row in rows], type=kind)
        for name, kind in feed.columns.items()
    }
    data["payload"] = pa.array([msgspec.json.encode(document).decode() for _, document, _ in rows], type=pa.string())
    data["source_position"] = pa.array([str(line) for line, _, _ in rows], type=pa.string())
    connection.register("fresh", pa.table(data))
    try:
        connection.execute(
            f"INSERT INTO {feed.table} SELECT {', '.join(feed.columns)}, payload, ?, ?, source_position, ? FROM fresh",
            [stamp, f"file:{file.name}", batch_id],
        )
    finally:
        connection.unregister("fresh")


def replaced(connection: duckdb.DuckDBPyConnection, file: Path, before: bytes, after: bytes, now: datetime) -> None:
    """Note that the new content of a feed file is loaded, when the old was: the file is about to be written again with
    rows left out."""
    feed = next((each for each in FEEDS if file.name.startswith(each.prefix)), None)
    if feed is None:
        return
    old, new = (f"feed:{feed.prefix}:{hashlib.sha256(content).hexdigest()}" for content in (before, after))
    if _is_known(connection, old) and not _is_known(connection, new):
        position = FilePosition(len(after), after.count(b"\n"), hashlib.sha256(after).hexdigest()).text()
        stamp = now.replace(tzinfo=None)
        connection.execute("INSERT INTO ops.position_file VALUES (?, ?, 1, ?, ?, NULL)", [new, position, "", stamp])
