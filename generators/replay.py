"""Replay, which sends recorded files again: in the order of their events, at their relative pace, with their times kept
or shifted.

Several files are merged by time as they are read; a few chunks are in memory at once, whatever their size.
"""

from __future__ import annotations

import hashlib
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from generators.publishers import Publisher
from generators.recorded import Limits, Reader
from generators.settings import DAY_MS, milliseconds, moment
from generators.simulation import Batch
from searchflow.errors import UsageError
from searchflow.ingestion.file_source import event_files, open_content
from searchflow.streams import EVENT_TYPES

CHUNK_BYTES = 8_000_000
HEAD = 101  # lines that tell when a file begins
TICK_SECONDS = 0.1


@dataclass
class Recording:
    """A recorded file: when its first and last event happened (ms; None: no line of it has a time), and about when it
    begins."""

    path: Path
    first: int | None = None
    last: int | None = None
    begins: int = 0  # the median of its first lines: one late event does not move it


@dataclass
class ReplayReport:
    """The counts of what was sent."""

    lines: int = 0
    by_type: dict[str, int] = field(default_factory=dict)
    shift: timedelta = timedelta(0)
    seconds: float = 0.0


class Replay:
    """The files to send again. Making one reads them once, for their times."""

    def __init__(self, paths: list[Path], limits: Limits) -> None:
        self._reader, digest = Reader(limits), hashlib.sha256()
        self.files = [Recording(file) for path in paths for file in event_files(path)]
        for file in self.files:
            for lines in _chunks(file.path):
                digest.update(b"\n".join(lines))
                times = self._reader.times(lines)
                if len(times):
                    if file.first is None:
                        file.begins = int(times[:HEAD].median()) // 1000  # type: ignore[arg-type]
                    low, high = int(times.min()) // 1000, int(times.max()) // 1000  # type: ignore[arg-type]
                    file.first = low if file.first is None else min(file.first, low)
                    file.last = high if file.last is None else max(file.last, high)
        known = [(file.first, file.last) for file in self.files if file.first is not None and file.last is not None]
        if not known:
            raise UsageError(
                "There is no event with a time in these files. Give files of events, one JSON object a line."
            )
        self.first, self.last = min(low for low, _ in known), max(high for _, high in known)
        self.digest = digest.hexdigest()[:16]

    def shift_to(self, target: str | None, now: datetime, speed: float | None) -> int:
        """Return the milliseconds to shift by.

        `now`: the last event happens when it is sent, so none is sent before it happens;
        a date: the first event happens on it, at its hour; a date and time: just then.

        Raises:
            UsageError: the target is neither.
        """
        if target is None:
            return 0
        if target == "now":
            length = (self.last - self.first) / speed if speed else 0
            return milliseconds(now) + round(length) - self.last
        try:
            if len(target) == 10:
                return (milliseconds(datetime.combine(date.fromisoformat(target), datetime.min.time(), UTC))
                        - self.first // DAY_MS * DAY_MS)  # fmt: skip
            wanted = datetime.fromisoformat(target)
        except ValueError:
            raise UsageError(f"--shift-to {target} is unknown. Give now, 2026-01-31 or 2026-01-31T12:00:00Z.") from None
        return milliseconds(wanted if wanted.tzinfo else wanted.replace(tzinfo=UTC)) - self.first

    def frames(self, shift: int) -> Iterator[pl.DataFrame]:
        """Yield one row for each line, in the order to send: due (ms, as recorded), event_type, line."""
        starts = {file.path: self._start(file) for file in self.files}
        waiting = sorted(self.files, key=lambda file: (starts[file.path], file.path.name))
        tracks: list[_Track] = []
        while waiting or tracks:
            edge = min((track.edge for track in tracks), default=starts[waiting[0].path] if waiting else 0)
            while waiting and starts[waiting[0].path] <= edge:
                file = waiting.pop(0)
                tracks.append(_Track(self._reader, file.path, shift, starts[file.path]))
                edge = min(track.edge for track in tracks)
            ready = [track.take(edge) for track in tracks]
            tracks = [track for track in tracks if not track.is_done]
            yield pl.concat(ready).sort("due", maintain_order=True)

    def _start(self, file: Recording) -> int:
        """Return when a file's first line is due: behind files that end before it begins, whatever comes late in it."""
        before = [each.last for each in self.files if each.last is not None and each.last <= file.begins]
        return max([file.first if file.first is not None else self.first, *before])


class _Track:
    """A file as it is read. `edge` is the time up to which everything of it is known."""

    def __init__(self, reader: Reader, path: Path, shift: int, start: int) -> None:
        self._reader, self._chunks, self._shift = reader, _chunks(path), shift
        self._time = start
        self._load()

    def _load(self) -> None:
        lines = next(self._chunks, None)
        self.is_done = lines is None
        read = self._reader.lines(lines or [], self._shift)
        # A late event goes out with its neighbours; so does a line without a time.
        due = (pl.col("us") // 1000).cum_max().forward_fill().fill_null(self._time).clip(lower_bound=self._time)
        self._rows = read.select(due.alias("due"), "event_type", "line")
        if len(self._rows):
            self._time = int(self._rows["due"][-1])
        self.edge = self._time

    def take(self, edge: int) -> pl.DataFrame:
        """Return the rows due up to `edge`; read on when there are no more."""
        ready = self._rows.filter(pl.col("due") <= edge)
        self._rows = self._rows[len(ready) :]
        if not len(self._rows):
            self._load()
        return ready


def _chunks(path: Path) -> Iterator[list[bytes]]:
    try:
        with open_content(path) as handle:
            while lines := handle.readlines(CHUNK_BYTES):
                kept = [line.rstrip(b"\r\n") for line in lines]
                yield [line for line in kept if line.strip()]
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read to its end ({error}). Write the file again.") from error


def run(
    replay: Replay,
    publisher: Publisher,
    *,
    shift: int = 0,
    speed: float | None = None,
    by_type: bool = False,
    stop: threading.Event | None = None,
) -> ReplayReport:
    """Send everything, `speed` times as fast as it happened (None: as fast as possible), until `stop` is set."""
    stop, began = stop or threading.Event(), time.monotonic()
    report = ReplayReport(shift=timedelta(milliseconds=shift))
    with publisher:
        for frame in replay.frames(shift):
            for part in _paced(frame, replay.first, speed, began, stop):
                publisher.publish(_batch(part, by_type))
                report.lines += len(part)
                for name, count in part["event_type"].value_counts().iter_rows():
                    report.by_type[name] = report.by_type.get(name, 0) + count
            if stop.is_set():
                break
    report.seconds = time.monotonic() - began
    return report


def _paced(
    frame: pl.DataFrame, first: int, speed: float | None, began: float, stop: threading.Event
) -> Iterator[pl.DataFrame]:
    """Yield parts of a frame when they are due."""
    if speed is None:
        yield frame
        return
    due = frame["due"]
    sent = 0
    while sent < len(frame) and not stop.is_set():
        upto = int(due.search_sorted(first + (time.monotonic() - began) * 1000 * speed, side="right"))
        if upto > sent:
            yield frame[sent:upto]
            sent = upto
        else:
            ahead = (due[sent] - first) / 1000 / speed - (time.monotonic() - began)
            stop.wait(min(TICK_SECONDS, max(ahead, 0.001)))


def _batch(part: pl.DataFrame, by_type: bool) -> Batch:
    """Return a batch of one frame, which keeps the order, or of one frame for each type, for streams."""
    rows = part.with_columns(pl.col("due").cast(pl.Datetime("ms", "UTC")).alias("arrived_at"))
    names = EVENT_TYPES if by_type else ("lines",)
    frames = {name: rows.filter(pl.col("event_type") == name) if by_type else rows for name in names}
    return Batch(frames, moment(int(part["due"][-1]) if len(part) else 0))
