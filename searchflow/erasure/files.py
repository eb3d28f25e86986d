"""The files of the home folder as a place: logs, reports, feeds. Other places cover servers' own files and the lake.

Rows are removed from tables (CSV, JSON lines, also compressed, and Parquet). In every other file the identifiers, and beside
them the person's names, are overwritten where they stand, so that a process that still writes to the file is not disturbed.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import duckdb

from searchflow import warehouse
from searchflow.erasure.place import Finding, Job
from searchflow.erasure.terms import Terms
from searchflow.ingestion import feeds
from searchflow.ingestion.commit import in_transaction
from searchflow.quoting import identifier, literal

NAME = "files"
NOT_OURS = ("postgres", "valkey", "extensions", "keys", "run", "pg", "vk", "answer_key", "audit")
"""The folders of the home that other places cover; `run` holds the erasure's own notes, `audit` only signed hashes."""
TABLES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
FILL = b"*"


class HomeFiles:
    """The files of the home folder as a place that holds a person and lets go of them."""

    name = NAME

    def search(self, job: Job) -> list[Finding]:
        """Return the files that name the person, each with how often it does."""
        found = []
        for path in _files(job):
            count = _count(path, job.terms)
            if count:
                found.append(Finding(NAME, _shown(path, job), count))
        return found

    def erase(self, job: Job) -> None:
        """Remove rows from tables, and overwrite identifiers in the other files."""
        for path in _files(job):
            if not _count(path, job.terms):
                continue
            if path.name.endswith(".parquet"):
                _filter_parquet(path, job.terms)
            elif path.name.endswith(TABLES):
                _filter_rows(path, job)
            else:
                _overwrite(path, job.terms)


def _files(job: Job) -> Iterator[Path]:
    home, lake = job.settings.home, Path(job.settings.data_path)
    for folder, names, files in os.walk(home):
        here = Path(folder)
        names[:] = [
            name
            for name in names
            if not (here == home and name in NOT_OURS) and here / name != lake and not (here / name).is_symlink()
        ]
        for name in sorted(files):
            path = here / name
            if path.is_file() and not path.is_symlink():
                yield path


def _content(path: Path) -> bytes:
    raw = path.read_bytes()
    try:
        return gzip.decompress(raw) if path.name.endswith(".gz") else raw
    except (OSError, EOFError):
        return raw


def _count(path: Path, terms: Terms) -> int:
    if path.name.endswith(".parquet"):
        return _parquet_rows(path, terms)
    return len(terms.spans(_content(path)))


def _filter_rows(path: Path, job: Job) -> None:
    before = _content(path)
    after = b"".join(row for row in _rows(path, before) if not job.terms.found_in(row))
    if path.is_relative_to(job.settings.feeds_dir):
        # A feed is known by its content: the changed file must not look like a new one.
        with warehouse.connect(job.settings) as connection:
            in_transaction(connection, lambda: feeds.replaced(connection, path, before, after, job.now))
    _replace(path, gzip.compress(after, mtime=0) if path.name.endswith(".gz") else after)


def _rows(path: Path, content: bytes) -> Iterator[bytes]:
    """Yield the lines of a file; for CSV yield its rows, whose quoted fields may hold line ends."""
    is_csv, row = ".csv" in path.name, b""
    for line in content.splitlines(keepends=True):
        row += line
        if is_csv and row.count(b'"') % 2:
            continue
        yield row
        row = b""
    if row:
        yield row


def _overwrite(path: Path, terms: Terms) -> None:
    spans = terms.spans_with_names(path.read_bytes())
    with path.open("r+b") as handle:
        for start, end in spans:
            os.pwrite(handle.fileno(), FILL * (end - start), start)
        os.fsync(handle.fileno())


def _parquet_columns(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    columns = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
    return ", ".join(f"{identifier(name)}::VARCHAR" for name, *_ in columns) or "NULL"


def _parquet_rows(path: Path, terms: Terms) -> int:
    with duckdb.connect() as connection:
        try:
            texts = _parquet_columns(connection, path)
            found = connection.execute(f"SELECT concat_ws(chr(10), {texts}) FROM read_parquet(?)", [str(path)])
            return sum(terms.found_in(str(text).encode()) for (text,) in found.fetchall())
        except duckdb.Error:
            return 0  # not a whole file


def _filter_parquet(path: Path, terms: Terms) -> None:
    unfinished = path.with_name(f".{path.name}.part")
    with duckdb.connect() as connection:
        texts = _parquet_columns(connection, path)
        connection.create_function("names_them", lambda text: terms.found_in(text.encode()), ["VARCHAR"], "BOOLEAN")
        connection.execute(
            f"COPY (SELECT * FROM read_parquet({literal(path)}) WHERE NOT names_them(concat_ws(chr(10), '', {texts}))) "
            f"TO {literal(unfinished)} (FORMAT parquet, COMPRESSION zstd)"
        )
    unfinished.replace(path)


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _shown(path: Path, job: Job) -> str:
    """Return a file's path below the home, without the person in its name."""
    name = str(path.relative_to(job.settings.home)).encode("utf-8", "surrogateescape")
    for start, end in reversed(job.terms.spans(name)):
        name = name[:start] + b"*" + name[end:]
    return name.decode(errors="replace")
