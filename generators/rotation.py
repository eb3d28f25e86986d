"""JSON lines files that end after some time, size or number of events: each gets its name when it is complete."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
import polars as pl

from generators.draws import Ints
from generators.lines import Lines
from generators.publishers import open_lines, unfinished
from generators.simulation import Batch, Partition
from searchflow.errors import StorageError, UsageError

_UNITS = {
    "s": ("milliseconds", 1_000),
    "m": ("milliseconds", 60_000),
    "h": ("milliseconds", 3_600_000),
    "d": ("milliseconds", 86_400_000),
    "kb": ("size", 1_000),
    "mb": ("size", 1_000_000),
    "gb": ("size", 1_000_000_000),
    "events": ("events", 1),
    "event": ("events", 1),
}


@dataclass(frozen=True)
class Rotation:
    """The limit at which a file is full. Exactly one is set."""

    milliseconds: int | None = None  # of arrival: a file holds an hour (day, …) of the clock, UTC
    size: int | None = None  # bytes of content, before compression
    events: int | None = None  # lines

    @classmethod
    def parse(cls, text: str) -> Rotation:
        """Parse a limit such as `1h`, `30m`, `1d`, `100MB` or `50000 events`.

        Raises:
            UsageError: it is none of these.
        """
        found = re.fullmatch(r"([1-9][0-9_,]*)\s*([a-z]+)", text.strip().lower())
        if found is None or found[2] not in _UNITS:
            raise UsageError(f'--rotate {text} is unknown. Give a time (1h), a size (100MB) or "50000 events".')
        kind, unit = _UNITS[found[2]]
        return cls(**{kind: int(re.sub("[_,]", "", found[1])) * unit})


class RotatingPublisher:
    """A publisher into `<name>_000001.jsonl`, `<name>_000002.jsonl`, …: names sort by time. The unfinished file begins
    with a dot."""

    def __init__(self, folder: Path, name: str, rotation: Rotation, *, compress: bool = False) -> None:
        self._folder, self._name, self._rotation, self._compress = folder, name, rotation, compress
        self.files: list[Path] = []
        self._open: IO[bytes] | None = None
        self._bytes = self._lines = self._window = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder} cannot be made ({error.strerror}). Choose another folder.") from error

    def publish(self, batch: Batch) -> int:
        """Append the lines of the batch, to as many files as it takes."""
        lines = batch.text()
        arrivals = pl.concat([frame["arrived_at"] for frame in batch.frames.values()]).sort()
        try:
            self._write(lines, arrivals.dt.epoch("ms").to_numpy())
        except OSError as error:
            raise StorageError(f"{self._folder} cannot be written ({error.strerror}). Free some space.") from error
        return len(lines)

    def _write(self, lines: Lines, arrivals: Ints) -> None:
        first = 0
        while first < len(lines):
            last = self._room(lines, arrivals, first) if self._open is not None else first
            if last == first and self._open is not None:
                self._finish()
            if self._open is None:
                self._begin(int(arrivals[first]))
                last = max(self._room(lines, arrivals, first), first + 1)  # a line above the limit is a file of its own
            assert self._open is not None
            part = lines.text[int(lines.ends[first]) : int(lines.ends[last])]
            self._open.write(part)
            self._bytes, self._lines = self._bytes + len(part), self._lines + last - first
            first = last

    def _room(self, lines: Lines, arrivals: Ints, first: int) -> int:
        """Return the line before which the open file is full, `first` at the least."""
        rule = self._rotation
        if rule.milliseconds is not None:
            return max(first, int(np.searchsorted(arrivals, (self._window + 1) * rule.milliseconds)))
        if rule.size is not None:
            most = int(lines.ends[first]) + rule.size - self._bytes
            return max(first, int(np.searchsorted(lines.ends, most, side="right")) - 1)
        return min(len(lines), first + (rule.events or 0) - self._lines)

    def _begin(self, arrival: int) -> None:
        path = self._folder / f"{self._name}_{len(self.files) + 1:06d}.jsonl{'.gz' if self._compress else ''}"
        self._open = open_lines(unfinished(path), compress=self._compress)
        self.files.append(path)
        self._bytes = self._lines = 0
        self._window = arrival // (self._rotation.milliseconds or 1)

    def _finish(self, *, keep: bool = True) -> None:
        if self._open is None:
            return
        self._open.close()
        self._open = None
        if keep:
            unfinished(self.files[-1]).replace(self.files[-1])
        else:
            unfinished(self.files.pop()).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish(keep=error is None)


def rotating_part(
    folder: Path, name: str, rotation: Rotation, compress: bool, partition: Partition
) -> RotatingPublisher:
    """Return a publisher into a worker's own files."""
    return RotatingPublisher(folder, f"{name}_part{partition.index + 1}of{partition.of}", rotation, compress=compress)
