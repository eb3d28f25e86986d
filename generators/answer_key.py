"""The answer key, the sealed truth: what became of every line sent, and who was really behind it.

Each run has a folder: `lines_*.parquet` (one row for each line sent), `visits_*.parquet`, `bookings_*.parquet`,
`journeys_*.parquet` (one row for each booking and visit before it), `kpis_daily.parquet`, `profiles.parquet` and
`manifest.json` (the SHA-256 of each file). Without a manifest it is not sealed: the run did not end, and the run that
repeats its range replaces the folder. Nothing but `searchflow verify` may read it. docs/guides/verify.md describes the columns.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from generators import truth
from generators.simulation import Batch
from searchflow import key_files

ROWS_A_FILE = 250_000


class AnswerKey:
    """An answer key that collects the lines of one run, and then seals them."""

    def __init__(self, folder: Path, name: str, *, rows_a_file: int = ROWS_A_FILE, journal: bool = False) -> None:
        """Open the key. With `journal`, lines are on disk once `add` returns, for runs that no process repeats after a
        kill."""
        self.folder = folder / name
        self._rows_a_file = rows_a_file
        self._waiting: list[pl.DataFrame] = []
        self._counts: list[pl.DataFrame] = []
        self._files: dict[str, dict[str, Any]] = {}
        self.fates: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.types: Counter[str] = Counter()
        self.attempt = _attempt(self.folder) + 1
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        (self.folder / key_files.ATTEMPT).write_text(str(self.attempt))
        self._journal = _Journal(self.folder / key_files.JOURNAL) if journal else None

    def add(self, batch: Batch) -> None:
        """Note the lines of a batch that is sent."""
        for event_type, frame in batch.frames.items():
            if len(frame):
                lines = truth.lines(event_type, frame)
                self._waiting.append(lines)
                self.types[event_type] += len(lines)
                if self._journal is not None:
                    self._journal.write(lines)
        if sum(map(len, self._waiting)) >= self._rows_a_file:
            self.flush()

    def flush(self) -> None:
        """Write what was noted so far."""
        if not self._waiting:
            return
        rows = pl.concat(self._waiting)
        self._waiting = []
        for fate, count in rows["fate"].value_counts().iter_rows():
            self.fates[fate] += count
        for reason, count in rows["reason"].drop_nulls().value_counts().iter_rows():
            self.reasons[reason] += count
        self._part(key_files.LINES, rows)
        if self._journal is not None:
            self._journal.clear()
        stored = rows.filter(pl.col("fate") == "stored")
        self._counts.append(truth.counts(stored))
        self._part(key_files.BOOKINGS, truth.bookings(stored))
        self._part(key_files.VISITS, truth.visits(stored))

    def _part(self, kind: str, rows: pl.DataFrame) -> None:
        number = 1 + sum(key_files.is_part(name, kind) for name in self._files)
        self._write(key_files.part_name(kind, number), rows)

    def add_feeds(self, files: Iterable[Path]) -> None:
        """Note whom we may write to: the versions of the user profiles in the feed files of this run."""
        profiles = [file for file in files if file.name.startswith("user_profiles")]
        if profiles:
            columns = ["user_id", "marketing_consent", "updated_at"]
            self._write(key_files.PROFILES, pl.read_csv(profiles, columns=columns, try_parse_dates=True))

    def seal(self, **facts: Any) -> Path:
        """Add journeys and KPIs, and write the manifest: from now on the folder must not change."""
        self.flush()
        if self._journal is not None:
            self._journal.remove()
        self._summarize()
        manifest = {
            "format": key_files.FORMAT,
            **facts,
            "attempt": self.attempt,
            "lines": sum(self.types.values()),
            "lines_by_type": dict(self.types),
            "lines_by_fate": dict(sorted(self.fates.items())),
            "dead_letters_by_reason": dict(sorted(self.reasons.items())),
            "files": self._files,
        }
        path = self.folder / key_files.MANIFEST
        unfinished = path.with_suffix(".json.part")
        unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        return unfinished.replace(path)

    def close(self) -> None:
        """Close the journal without a seal, when a run ends in an error."""
        if self._journal is not None:
            self._journal.clear()

    def _summarize(self) -> None:
        if not self._counts:
            return
        sealed = [seal.parent for seal in sorted(self.folder.parent.glob(f"*/{key_files.MANIFEST}"))]
        visits = [part for folder in [*sealed, self.folder] for part in key_files.parts(folder, key_files.VISITS)]
        for frame in truth.journeys(key_files.parts(self.folder, key_files.BOOKINGS), visits):
            self._part(key_files.JOURNEYS, frame)
        own = key_files.parts(self.folder, key_files.VISITS)
        self._write(key_files.KPIS, truth.kpis(self._counts, own))

    def _write(self, name: str, rows: pl.DataFrame) -> None:
        path = self.folder / name
        unfinished = path.with_suffix(".part")
        rows.write_parquet(
            unfinished, compression="zstd", compression_level=1, statistics=not key_files.is_part(name, key_files.LINES)
        )
        unfinished.replace(path)
        self._files[name] = {"rows": len(rows), "sha256": _sha256(path)}


class _Journal:
    """The lines since the last part, as an Arrow stream: what was written stays readable when the process is killed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sink: BinaryIO | None = None
        self._writer: Any = None

    def write(self, lines: pl.DataFrame) -> None:
        table = lines.with_columns(pl.col(pl.Enum).cast(pl.String)).to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._sink is None:
            self._sink = self._path.open("wb")
            self._writer = pa.ipc.new_stream(self._sink, table.schema)
        self._writer.write_table(table)
        self._sink.flush()

    def clear(self) -> None:
        """Begin again: what was written is in a part now."""
        if self._sink is not None:
            self._sink.close()
        self._sink = None

    def remove(self) -> None:
        self.clear()
        self._path.unlink(missing_ok=True)


def _attempt(folder: Path) -> int:
    """Return how often this range was begun before: each time, its lines were sent up to some point."""
    try:
        return int((folder / key_files.ATTEMPT).read_text())
    except (OSError, ValueError):
        return 0


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
