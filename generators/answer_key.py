"""The sealed truth: what became of every line sent, and who was really behind it.

A folder a run, with Parquet files and `manifest.json` (SHA-256 of each file). Without a manifest it is not sealed: the
run did not end, and the run that repeats its range replaces the folder. Nothing but `searchflow verify` may read it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from generators import faults
from generators.simulation import Batch

ROWS_A_FILE = 500_000
FORMAT = 1
MANIFEST = "manifest.json"


class AnswerKey:
    """Collects the lines of one run, then seals them."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / name
        self._frames: list[pl.DataFrame] = []
        self._files: dict[str, dict[str, Any]] = {}
        self.fates: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.types: Counter[str] = Counter()
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)

    def add(self, batch: Batch) -> None:
        """Note the lines of a batch that was sent."""
        for event_type, frame in batch.frames.items():
            if len(frame):
                self._frames.append(_explained(frame))
                self.types[event_type] += len(frame)
        if sum(map(len, self._frames)) >= ROWS_A_FILE:
            self._flush()

    def _flush(self) -> None:
        if not self._frames:
            return
        rows = pl.concat(self._frames)
        self._frames = []
        for fate, count in rows["fate"].value_counts().iter_rows():
            self.fates[fate] += count
        for reason, count in rows["reason"].drop_nulls().value_counts().iter_rows():
            self.reasons[reason] += count
        path = self.folder / f"lines_{len(self._files) + 1:05d}.parquet"
        rows.write_parquet(path, compression="zstd", compression_level=1)
        self._files[path.name] = {"rows": len(rows), "sha256": _sha256(path)}

    def seal(self, **facts: Any) -> Path:
        """Write the manifest: from now on the folder must not change."""
        self._flush()
        manifest = {
            "format": FORMAT,
            **facts,
            "lines": sum(self.types.values()),
            "lines_by_type": dict(self.types),
            "lines_by_fate": dict(self.fates),
            "dead_letters_by_reason": dict(self.reasons),
            "files": self._files,
        }
        path = self.folder / MANIFEST
        path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        return path


def _explained(frame: pl.DataFrame) -> pl.DataFrame:
    codes = range(faults.FIRST_MALFORMED + len(faults.MALFORMED))
    names = pl.Series([faults.fate_name(code) for code in codes], dtype=pl.Categorical)
    reasons = pl.Series([faults.reason_code(code) for code in codes], dtype=pl.Categorical)
    return frame.select(
        "event_id",
        pl.col("event_type").cast(pl.Categorical),
        "timestamp",
        "arrived_at",
        "session_id",
        "visitor_id",
        pl.lit(names.gather(frame["fate"])).alias("fate"),
        pl.lit(reasons.gather(frame["fate"])).alias("reason"),
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
