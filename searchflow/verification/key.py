"""The answer key's reader: every file is checked against its manifest before a row of it is believed.

A folder without a manifest belongs to a run that was killed or is still at work. A line that it has noted so far counts
only where raw holds it: such a line was perhaps never sent.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.ipc
from polars.datatypes import DataTypeClass

from searchflow.errors import UsageError
from searchflow.key_files import ATTEMPT, FORMAT, JOURNAL, KPIS, LINES, MANIFEST, PROFILES, is_part, parts

COLUMNS = (
    "event_id", "event_type", "timestamp", "session_id", "visitor_id", "fate", "reason", "number", "identified",
    "channel", "platform", "device_type", "country", "results", "parent", "position", "destination", "cents", "currency",
    "cause",
)  # fmt: skip
Shape = dict[str, DataTypeClass | pl.DataType]
TOTALS = ("searches", "bot_searches", "zero_result_searches", "clicks", "conversions")


@dataclass(frozen=True)
class Key:
    """The keys of all runs as one. `lines` has one row for each line sent, and the column `sealed`."""

    folder: Path
    runs: list[dict[str, Any]]
    lines: pl.DataFrame
    profiles: pl.DataFrame  # user_id, marketing_consent, updated_at
    totals: pl.DataFrame  # the daily KPIs of sealed runs, added up
    repeated: bool  # a run was begun more than once, so lines were sent more than once

    @property
    def unsealed(self) -> list[str]:
        """Return the runs that have no seal."""
        return [run["run"] for run in self.runs if not run["sealed"]]

    @property
    def stored(self) -> pl.DataFrame:
        """Return the events that must be stored."""
        return self.lines.filter(pl.col("fate") == "stored")


def find(folder: Path) -> list[Path]:
    """Find the runs' folders: `folder` is one itself, or holds them.

    Raises:
        UsageError: there is none.
    """
    runs = [folder] if (folder / MANIFEST).exists() else sorted(folder.iterdir()) if folder.is_dir() else []
    runs = [run for run in runs if run.is_dir() and any((run / name).exists() for name in (MANIFEST, ATTEMPT))]
    if not runs:
        raise UsageError(
            f"There is no answer key in {folder}. It is written with simulated traffic: run `searchflow demo` or "
            "`searchflow generate` first, or name another folder with --key."
        )
    return runs


def read(folder: Path) -> Key:
    """Read the key in `folder`, which holds one folder for each run or is one run's folder.

    Raises:
        UsageError: there is none, or a file is missing or was changed; names it.
    """
    read_runs = [_run(run) for run in find(folder)]
    frames = [_lines(path, sealed=bool(facts["sealed"])) for facts, files in read_runs for path in files["lines"]]
    profiles = [pl.read_parquet(path) for _, files in read_runs for path in files["profiles"]]
    totals = [pl.read_parquet(path).select("day", *TOTALS) for _, files in read_runs for path in files["kpis"]]
    empty: Shape = {"user_id": pl.String, "marketing_consent": pl.Boolean, "updated_at": pl.Datetime("us")}
    no_day: Shape = {"day": pl.Date, **dict.fromkeys(TOTALS, pl.UInt32)}
    return Key(
        folder,
        [facts for facts, _ in read_runs],
        pl.concat(frames) if frames else _empty(),
        pl.concat([_profiles(frame) for frame in profiles]) if profiles else pl.DataFrame(schema=empty),
        (pl.concat(totals) if totals else pl.DataFrame(schema=no_day)).group_by("day").agg(pl.all().sum()),
        any(facts["attempt"] > 1 for facts, _ in read_runs),
    )


def _run(folder: Path) -> tuple[dict[str, Any], dict[str, list[Path]]]:
    """Return the facts of a run and its files by kind, checked."""
    path = folder / MANIFEST
    if not path.exists():
        facts = {"run": folder.name, "sealed": False, "lines": None, "attempt": 1}
        found = [*parts(folder, LINES), *folder.glob(JOURNAL)]
        return facts, {"lines": found, "profiles": [], "kpis": []}
    try:
        manifest = msgspec.json.decode(path.read_bytes())
        files = dict(manifest["files"])
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is damaged ({error}). Restore it, or move {folder} away.") from error
    if manifest.get("format") != FORMAT:
        raise UsageError(f"{path} was written by another version of SearchFlow. Verify with that one, or move it away.")
    for name, facts in files.items():
        _check(folder / name, facts["sha256"])
    for extra in sorted(path.name for path in folder.glob("*.parquet") if path.name not in files):
        raise UsageError(f"{folder / extra} is not in the manifest of its run. Move it out of the answer key.")
    paths = sorted(folder / name for name in files)
    facts = {"run": folder.name, "sealed": True, "lines": manifest["lines"], "attempt": manifest.get("attempt", 1)}
    return facts, {
        "lines": [path for path in paths if is_part(path.name, LINES)],
        "profiles": [path for path in paths if path.name == PROFILES],
        "kpis": [path for path in paths if path.name == KPIS],
    }


def _check(path: Path, sha256: str) -> None:
    try:
        with path.open("rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(
            f"{path} is missing or cannot be read ({error.strerror}). The answer key is sealed: restore the file."
        ) from error
    if found != sha256:
        raise UsageError(
            f"{path} was changed after it was sealed (its SHA-256 is not the manifest's). Restore the file."
        )


def _lines(path: Path, *, sealed: bool) -> pl.DataFrame:
    """Return the columns that are compared, with moments in microseconds without a zone, as in the warehouse."""
    frame = _journal(path) if path.name == JOURNAL else pl.read_parquet(path, columns=list(COLUMNS))
    frame = frame.with_columns(pl.col(pl.Enum).cast(pl.String))  # the words of each run are its own
    return frame.with_columns(pl.col("timestamp").dt.replace_time_zone(None).cast(pl.Datetime("us"))).with_columns(
        pl.lit(sealed).alias("sealed")
    )


def _journal(path: Path) -> pl.DataFrame:
    """Return what a run without a seal wrote since its last part. The last batch may be cut off."""
    batches = []
    with contextlib.suppress(pa.ArrowInvalid, OSError), pa.ipc.open_stream(path) as stream:
        for batch in stream:
            batches.append(batch)
    found = [frame for frame in map(pl.from_arrow, batches) if isinstance(frame, pl.DataFrame)]
    return pl.concat(found).select(COLUMNS) if found else _empty().drop("sealed")


def _empty() -> pl.DataFrame:
    numbers: Shape = {
        "number": pl.UInt64,
        "parent": pl.UInt64,
        "cents": pl.Int64,
        "results": pl.Int32,
        "position": pl.Int32,
    }
    others: Shape = {"timestamp": pl.Datetime("us"), "identified": pl.Boolean}
    shape: Shape = {name: (numbers | others).get(name, pl.String) for name in COLUMNS}
    return pl.DataFrame(schema=shape | {"sealed": pl.Boolean})


def _profiles(frame: pl.DataFrame) -> pl.DataFrame:
    moment = pl.col("updated_at").dt.replace_time_zone(None).cast(pl.Datetime("us"))
    return frame.select("user_id", "marketing_consent", moment)
