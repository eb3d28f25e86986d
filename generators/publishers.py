"""Publishers, where lines go: Redis streams, JSON lines files, standard output. Each takes a batch and counts its
lines."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self, cast

import numpy as np
import redis

from generators.lines import Lines
from generators.simulation import Batch, Partition
from searchflow import streams
from searchflow.errors import StorageError
from searchflow.settings import Settings

MANY = 50
"""The number of lines from which compressing is worth it."""
_ROUND_TRIP_BYTES = 1 << 24


class Publisher(Protocol):
    """A place for lines. A context manager: leaving it without an error makes what was sent visible."""

    def publish(self, batch: Batch) -> int:
        """Send all lines of the batch; return how many."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class RedisPublisher:
    """A publisher into the streams of CONTRACTS section 2, several events per entry. It waits when a stream is full,
    and drops nothing."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        entry: int = 500,
        codec: str | None = "zstd",
        capacity: int | None = None,
        shards: int = 1,
        on_wait: Callable[[int], None] | None = None,
    ) -> None:
        self._client, self._entry, self._codec = client, entry, codec
        self._capacity, self._shards, self._on_wait = capacity, shards, on_wait
        _keep_freed_memory()

    def publish(self, batch: Batch) -> int:
        """Send the lines of each type to the type's stream."""
        return sum(self._send(event_type, batch.text(event_type)) for event_type in batch.frames)

    def _send(self, event_type: str, lines: Lines) -> int:
        return streams.publish_entries(
            self._client,
            event_type,
            lines.entries(self._entry),
            batch=self._entry,
            codec=self._codec if len(lines) >= MANY else None,
            capacity=self._capacity,
            shards=self._shards,
            on_wait=self._on_wait,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def _keep_freed_memory() -> None:
    """Let the C library keep what a round trip frees (some MB) for the next one, instead of giving it back page by
    page.

    glibc adapts to the largest block that was ever freed, so whether it did depended on the work before: publishing was twice
    as slow when that had been small. The block is never touched, so it takes no memory.
    """
    np.empty(_ROUND_TRIP_BYTES, dtype=np.uint8)


class StreamPart:
    """A worker's own connection to the streams, opened where it is used."""

    def __init__(self, settings: Settings, partition: Partition) -> None:
        self._settings = settings

    def __enter__(self) -> Self:
        self._client = streams.connect(self._settings)
        capacity, shards = self._settings.stream_capacity, self._settings.stream_shards
        self._publisher = RedisPublisher(self._client, capacity=capacity, shards=shards)
        return self

    def publish(self, batch: Batch) -> int:
        """Send the lines of each type to the type's stream."""
        return self._publisher.publish(batch)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()


class JsonlPublisher:
    """A publisher of JSON lines files in a folder: `<name>.jsonl`, or one for each type; gzip when `compress`.

    A file gets its name when it is complete. With `growing` it has it from the start, for readers that follow it.
    """

    def __init__(
        self, folder: Path, name: str, *, by_type: bool = False, compress: bool = False, growing: bool = False
    ) -> None:
        self._folder, self._name = folder, name
        self._by_type, self._compress, self._growing = by_type, compress, growing
        self._open: dict[Path, IO[bytes]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder} cannot be made ({error.strerror}). Choose another folder.") from error

    @property
    def files(self) -> list[Path]:
        """Return the files written so far."""
        return list(self._open)

    def publish(self, batch: Batch) -> int:
        """Append the lines of the batch."""
        try:
            if self._by_type:
                return sum(self._append(f"{self._name}_{one}", batch.text(one)) for one in batch.frames)
            return self._append(self._name, batch.text())
        except OSError as error:
            raise StorageError(f"{self._folder} cannot be written ({error.strerror}). Free some space.") from error

    def _append(self, name: str, lines: Lines) -> int:
        if len(lines):
            handle = self._handle(self._folder / f"{name}.jsonl{'.gz' if self._compress else ''}")
            handle.write(lines.text)
            if self._growing:
                handle.flush()
        return len(lines)

    def _handle(self, path: Path) -> IO[bytes]:
        if path not in self._open:
            self._open[path] = open_lines(path if self._growing else unfinished(path), compress=self._compress)
        return self._open[path]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for path, handle in self._open.items():
            handle.close()
            if self._growing:
                continue
            if error is None:
                unfinished(path).replace(path)
            else:
                unfinished(path).unlink(missing_ok=True)


class _Gzip(gzip.GzipFile):
    """A gzip file that closes its inner file too. It holds no time and no name: equal lines make equal files."""

    def __init__(self, path: Path) -> None:
        self._raw = path.open("wb")
        super().__init__("", "wb", 5, self._raw, mtime=0)

    def close(self) -> None:
        super().close()
        self._raw.close()


def jsonl_part(folder: Path, name: str, partition: Partition, *, compress: bool = False) -> JsonlPublisher:
    """Return a publisher into a worker's own file: partitions of one range have names that differ."""
    return JsonlPublisher(folder, f"{name}_part{partition.index + 1}of{partition.of}", compress=compress)


def open_lines(path: Path, *, compress: bool) -> IO[bytes]:
    """Open a new file for lines."""
    return cast(IO[bytes], _Gzip(path) if compress else path.open("wb"))


def unfinished(path: Path) -> Path:
    """Return the name of a file until it is complete."""
    return path.with_name(f".{path.name}.part")


class StdoutPublisher:
    """A publisher of one event per line on standard output. When the reader leaves (`| head`), the rest goes nowhere."""

    def __init__(self, out: IO[bytes] | None = None, on_gone: Callable[[], None] | None = None) -> None:
        self._out, self._on_gone = out or sys.stdout.buffer, on_gone
        self.gone = False

    def publish(self, batch: Batch) -> int:
        """Write the lines and flush them."""
        lines = batch.text()
        if len(lines) and not self.gone:
            try:
                self._out.write(lines.text)
                self._out.flush()
            except BrokenPipeError:
                self.gone = True
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._out.fileno())  # what is buffered has a place to go
                if self._on_gone is not None:
                    self._on_gone()
        return len(lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
