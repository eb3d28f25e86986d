"""Erasure in the answer key, so that `searchflow verify` does not expect a person whom the platform was made to forget.

Stored lines of the person go. Their duplicates and refused lines stay counted, without a name, and so do visits that the
platform never knew to be theirs. The daily KPIs are made again, and the run is sealed again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl

from generators import truth
from searchflow.erasure.person import Person
from searchflow.erasure.place import Finding, Job
from searchflow.errors import UsageError
from searchflow.key_files import BOOKINGS, JOURNAL, JOURNEYS, KPIS, LINES, MANIFEST, VISITS, is_part, parts
from searchflow.services import process

NAME = "answer key"
WHO = {
    LINES: ("visitor_id", "session_id", "event_id"),
    VISITS: ("visitor_id", "session_id", None),
    BOOKINGS: ("visitor_id", "booked_in", "conversion_event_id"),
    JOURNEYS: ("visitor_id", "session_id", "conversion_event_id"),
    "profiles": ("user_id", None, None),
}
"""Kind of file -> its columns with the traveller, the session and the event."""
NO_ONE = "erased"
LIVE = "live-traffic"


class AnswerKeys:
    """The answer keys of this home."""

    name = NAME

    def search(self, job: Job) -> list[Finding]:
        """Return the rows that name the person, by kind of file."""
        found: dict[str, int] = {}
        for path, kind in _files(job):
            rows = len(_named(pl.read_parquet(path), kind, job.person))
            if rows:
                found[kind] = found.get(kind, 0) + rows
        journals = sum(job.terms.found_in(path.read_bytes()) for path in _journals(job))
        if journals:
            found["journal"] = journals
        return [Finding(NAME, kind, count) for kind, count in sorted(found.items())]

    def erase(self, job: Job) -> None:
        """Filter the files of each run, then seal it again.

        Raises:
            UsageError: simulated traffic is writing its key at this moment.
        """
        for run in _runs(job):
            files = [(path, kind) for path, kind in _files(job) if path.parent == run]
            about = [(path, kind) for path, kind in files if len(_named(pl.read_parquet(path), kind, job.person))]
            journals = [path for path in _journals(job) if path.parent == run and job.terms.found_in(path.read_bytes())]
            sealed = (run / MANIFEST).exists()
            if not sealed and (about or journals) and process.running(job.settings, LIVE) is not None:
                raise UsageError(
                    "Simulated live traffic is writing its answer key about this traveller. Run `searchflow down`, "
                    "then `searchflow forget` again."
                )
            for path in journals:
                _overwrite(path, job)
            gone = [_erase(path, kind, job.person) for path, kind in about]
            if gone and sealed:
                _lower_kpis(run, pl.concat([each for each in gone if "event_type" in each.columns] or [pl.DataFrame()]))
                _seal(run)


def _runs(job: Job) -> list[Path]:
    folder = job.settings.answer_key_dir
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.exists() else []


def _files(job: Job) -> Iterator[tuple[Path, str]]:
    for run in _runs(job):
        for path in sorted(run.glob("*.parquet")):
            kind = path.stem.split("_")[0]
            if kind in WHO:
                yield path, kind


def _journals(job: Job) -> list[Path]:
    return [path for run in _runs(job) for path in run.glob(JOURNAL)]


def _named(rows: pl.DataFrame, kind: str, person: Person) -> pl.DataFrame:
    """Return the rows that hold an identifier of the person."""
    who, where, what = WHO[kind]
    condition = pl.col(who) == person.user_id
    if where is not None:
        condition |= pl.col(where).is_in(person.sessions)
    if what is not None:
        condition |= pl.col(what).is_in(person.events)
    return rows.filter(condition)


def _erase(path: Path, kind: str, person: Person) -> pl.DataFrame:
    """Write a file without the person. Return the rows that went."""
    rows = pl.read_parquet(path)
    who, where, what = WHO[kind]
    theirs = pl.col(who) == person.user_id
    goes = theirs
    if where is not None:  # what the platform knew to be theirs
        goes &= pl.col(where).is_in(person.all_sessions)
    if what is not None:
        goes |= pl.col(what).is_in(person.events)
    if kind == LINES:
        goes &= pl.col("fate") == "stored"
    goes = goes.fill_null(False)
    kept = rows.filter(~goes)
    hidden = [pl.when(theirs).then(pl.lit(NO_ONE)).otherwise(pl.col(who)).alias(who)]
    if kind == LINES:
        counted = pl.col("fate") != "stored"
        hidden.append(_hidden("session_id", counted & pl.col("session_id").is_in(person.sessions)))
        hidden.append(_hidden("event_id", counted & pl.col("event_id").is_in(person.events)))
    _write(path, kept.with_columns(hidden))
    return rows.filter(goes)


def _hidden(column: str, condition: pl.Expr) -> pl.Expr:
    return pl.when(condition).then(pl.lit(NO_ONE)).otherwise(pl.col(column)).alias(column)


def _lower_kpis(run: Path, gone: pl.DataFrame) -> None:
    """Subtract the rows that went from what happened on each day."""
    path = run / KPIS
    if not path.exists() or not len(gone):
        return
    before = pl.read_parquet(path).drop("visits", "visitors")
    less = truth.counts(gone)
    columns = [name for name in before.columns if name != "day"]
    lowered = before.join(less, on="day", how="left", suffix="_gone").with_columns(
        (pl.col(name).cast(pl.Int64) - pl.col(f"{name}_gone").fill_null(0).cast(pl.Int64))
        .cast(before.schema[name])
        .alias(name)
        for name in columns
    )
    lowered = lowered.select(before.columns).filter(pl.sum_horizontal(pl.col(columns).cast(pl.Int64)) > 0)
    _write(path, truth.kpis([lowered], parts(run, VISITS)))


def _write(path: Path, rows: pl.DataFrame) -> None:
    unfinished = path.with_suffix(".part")
    rows.write_parquet(unfinished, compression="zstd", compression_level=1, statistics=not is_part(path.name, LINES))
    unfinished.replace(path)


def _seal(run: Path) -> None:
    """Write the manifest of the files as they are now."""
    path = run / MANIFEST
    manifest = msgspec.json.decode(path.read_bytes())
    for name in manifest["files"]:
        file = run / name
        with file.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        manifest["files"][name] = {"rows": pl.scan_parquet(file).select(pl.len()).collect().item(), "sha256": digest}
    manifest["lines"] = sum(facts["rows"] for name, facts in manifest["files"].items() if is_part(name, LINES))
    manifest["people_erased"] = manifest.get("people_erased", 0) + 1
    unfinished = path.with_suffix(".json.part")
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    unfinished.replace(path)


def _overwrite(path: Path, job: Job) -> None:
    """Overwrite texts of an Arrow stream in place: they stand in it as they are."""
    spans = job.terms.spans(path.read_bytes())
    with path.open("r+b") as handle:
        for start, end in spans:
            os.pwrite(handle.fileno(), b"*" * (end - start), start)
