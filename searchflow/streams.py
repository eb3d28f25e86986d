"""The event streams: how entries are written and read (CONTRACTS section 2).

The field `data` of an entry holds one event, or several separated by newlines. The field `codec` is `zstd` when the data is
compressed. The field `traceparent` (W3C) names the span that published the entry, where that is traced. Batching makes a
producer about six times cheaper than one entry for each event; readers treat both alike.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import redis
import zstandard

from searchflow import event_types, tracing
from searchflow.errors import ServiceError
from searchflow.lines import LongLine, Splitter
from searchflow.services import valkey
from searchflow.settings import Settings

EVENT_STREAMS = {name: each.stream for name, each in event_types.EVENT_TYPES.items()}
"""The stream of each type's first shard; where there are more, the second is `searchflow:events:search:1` and so on."""
EVENT_TYPES = event_types.NAMES
START = "0-0"
"""The position before the first entry."""

MAX_DECOMPRESSED = 32 * 1024 * 1024
"""The most bytes of events in an entry: 500 of the largest size. A larger entry is not a batch but an attack or an accident."""
MAX_READ = 256 * 1024 * 1024
"""The most bytes in an entry, with those of lines that are too large and not kept."""
MAX_LINES = 100_000
MAX_NEWLINES = 1_000_000
"""The most newlines in an entry: blank lines cost time too."""
COMPRESSED_BYTES = 256
"""The compressed bytes to decompress at a time: four bytes may become 128 KiB, so a piece is at most 8 MiB."""
PART_BYTES = 1024 * 1024
AT_ONCE_BYTES = 4 * 1024 * 1024
"""The size up to which one call decompresses a whole frame, which is faster. The call never gives more than the frame says."""


def shard_name(event_type: str, shard: int) -> str:
    """Return the stream of one shard. Shard 0 has the contract's name, so adding shards leaves nothing behind."""
    stream = EVENT_STREAMS[event_type]
    return stream if shard == 0 else f"{stream}:{shard}"


def names(settings: Settings) -> dict[str, list[str]]:
    """Return the streams of each event type, in the order of their shards."""
    shards = range(settings.stream_shards)
    return {event_type: [shard_name(event_type, shard) for shard in shards] for event_type in EVENT_TYPES}


def connect(settings: Settings) -> redis.Redis:
    """Check that the server answers, and return a client for it: bytes in, bytes out.

    Raises:
        ServiceError: the server does not answer, or it refuses us.
    """
    valkey.check(settings)
    return valkey.client(settings)


def encode(lines: Sequence[bytes], codec: str | None) -> dict[bytes, bytes]:
    """Return the fields of one entry for `lines` (each one event, without a newline)."""
    return encode_text(b"\n".join(lines), codec)


def encode_text(data: bytes | memoryview, codec: str | None) -> dict[bytes, bytes]:
    """Return the fields of one entry for events that are one text already: newlines between them, none at the end."""
    if codec is None:
        return {b"data": bytes(data)}
    if codec == "zstd":
        return {b"data": zstandard.ZstdCompressor(level=1).compress(data), b"codec": b"zstd"}
    raise ValueError(f"unknown codec {codec!r}: use None or 'zstd'")


def publish(
    client: redis.Redis,
    event_type: str,
    lines: Sequence[bytes],
    *,
    batch: int = 500,
    codec: str | None = None,
    capacity: int | None = None,
    shards: int = 1,
    on_wait: Callable[[int], None] | None = None,
    on_published: Callable[[int], None] | None = None,
) -> int:
    """Append `lines` to the stream of `event_type`, `batch` events to an entry. Return the number of written events.

    With several `shards` the entries go to their streams in turn. With a `capacity` in events, this waits while that
    many or more are unread (back-pressure; nothing is ever dropped) and passes the number of waiting entries to `on_wait`.

    Raises:
        ServiceError: the server is full or went away; what was written until then stays written.
    """
    groups = (lines[first : first + batch] for first in range(0, len(lines), batch))
    entries = ((b"\n".join(group), len(group)) for group in groups)
    return publish_entries(
        client,
        event_type,
        entries,
        batch=batch,
        codec=codec,
        capacity=capacity,
        shards=shards,
        on_wait=on_wait,
        on_published=on_published,
    )


def publish_entries(
    client: redis.Redis,
    event_type: str,
    entries: Iterable[tuple[bytes | memoryview, int]],
    *,
    batch: int = 500,
    codec: str | None = None,
    capacity: int | None = None,
    shards: int = 1,
    on_wait: Callable[[int], None] | None = None,
    on_published: Callable[[int], None] | None = None,
) -> int:
    """Publish entries that are joined already: (events with newlines between them, their number), at most `batch` each.

    The other arguments, the result and the errors are those of `publish`.
    """
    turns = itertools.cycle(shard_name(event_type, shard) for shard in range(shards))
    for _ in range(random.randrange(shards)):  # noqa: S311 (many small calls do not all begin with shard 0)
        next(turns)
    written = 0
    waiting = iter(entries)
    with tracing.span(f"publish {event_type}", event_type=event_type) as span:
        trace = tracing.traceparent() if span is not None else None
        extra = {b"traceparent": trace.encode()} if trace else {}
        while chunk := list(islice(waiting, 20 if batch > 1 else 5_000)):  # one round trip
            if capacity is not None:
                _wait_for_room(client, event_type, shards, capacity // max(batch, 1), on_wait)
            _append(client, turns, (encode_text(data, codec) | extra for data, _ in chunk), written)
            events = sum(count for _, count in chunk)
            written += events
            if on_published is not None:
                on_published(events)
        tracing.note(span, events=written)
    return written


def _append(client: redis.Redis, turns: Iterator[str], entries: Iterator[dict[bytes, bytes]], written: int) -> None:
    pipeline = client.pipeline(transaction=False)
    for entry in entries:
        pipeline.xadd(next(turns), entry)  # type: ignore[arg-type]
    try:
        pipeline.execute()
    except redis.OutOfMemoryError:
        raise ServiceError(
            "The stream server has no memory left. Run `searchflow ingest` to drain it, then publish again."
        ) from None
    except redis.RedisError as error:
        raise ServiceError(
            f"The stream server stopped answering after {written:,} events ({type(error).__name__}). "
            "Run `searchflow status`, then publish again: what was already there is dropped as duplicates."
        ) from error


def _wait_for_room(
    client: redis.Redis,
    event_type: str,
    shards: int,
    entries: int,
    on_wait: Callable[[int], None] | None,
    pause: float = 0.2,
) -> None:
    while True:
        waiting = sum(int(client.xlen(shard_name(event_type, shard))) for shard in range(shards))
        if waiting < entries:
            return
        if on_wait is not None:
            on_wait(waiting)
        time.sleep(pause)


def decode(fields: dict[bytes, bytes]) -> list[bytes]:
    """Return the lines of one entry. A blank line is not an event and is left out.

    Raises:
        ValueError: the entry has no `data`, an unknown codec, does not decompress or holds too much; the message says
            which.
    """
    pieces, size = [], 0
    for piece in _pieces(fields):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_READ:
            raise EntryTooLarge(size, MAX_READ, "bytes")
    return [line for line in b"".join(pieces).split(b"\n") if line.strip()]


def decode_bounded(fields: dict[bytes, bytes]) -> list[bytes | LongLine]:
    """Decode an entry in little memory, whatever it holds: a line that is too large becomes its head and a digest.

    Raises:
        ValueError: see `decode`.
    """
    splitter, lines = Splitter(), list[bytes | LongLine]()
    kept = read = newlines = 0
    for piece in _small(_pieces(fields)):
        newlines += piece.count(b"\n") if piece is not None else 0
        if newlines > MAX_NEWLINES:
            raise EntryTooLarge(newlines, MAX_NEWLINES, "lines")
        found = splitter.feed(piece) if piece is not None else splitter.end()
        lines += found
        kept += sum(len(line) if isinstance(line, bytes) else len(line.head) for line in found)
        read += len(piece or b"")
        for value, most, what in (
            (kept, MAX_DECOMPRESSED, "bytes of events"),
            (read, MAX_READ, "bytes"),
            (len(lines), MAX_LINES, "lines"),
        ):
            if value > most:
                raise EntryTooLarge(value, most, what)
    return lines


def _small(pieces: Iterator[bytes]) -> Iterator[bytes | None]:
    """Yield the pieces in parts so small that their lines, however short, fit into memory; yield None at the end."""
    for piece in pieces:
        if len(piece) <= PART_BYTES:
            yield piece
        else:
            yield from (piece[at : at + PART_BYTES] for at in range(0, len(piece), PART_BYTES))
    yield None


class EntryTooLarge(ValueError):
    """The error for an entry that is too large to be a batch of events."""

    def __init__(self, value: int, most: int, what: str) -> None:
        super().__init__(
            f"the entry holds {value:,} {what} or more; at most {most:,} are read. Publish smaller batches"
        )


def _pieces(fields: dict[bytes, bytes]) -> Iterator[bytes]:
    """Yield the bytes of an entry, decompressed piece by piece, so that no piece is large."""
    data = fields.get(b"data")
    if data is None:
        raise ValueError("the entry has no field `data`")
    codec = fields.get(b"codec")
    if codec is None:
        yield data
    elif codec == b"zstd":
        yield from _decompressed(data)
    else:
        raise ValueError("the entry's codec is not `zstd`")


def _decompressed(data: bytes) -> Iterator[bytes]:
    """Yield all frames of a compressed text, one after the other."""
    decompressor = zstandard.ZstdDecompressor()
    try:
        if 0 <= _content_size(data) <= AT_ONCE_BYTES:
            with contextlib.suppress(zstandard.ZstdError):  # more than this frame, or broken: see below
                yield decompressor.decompress(data, allow_extra_data=False)
                return
        at = 0
        while at < len(data):
            frame = decompressor.decompressobj()
            while not frame.eof and at < len(data):
                piece = data[at : at + COMPRESSED_BYTES]
                at += len(piece)
                yield frame.decompress(piece)
            if not frame.eof:
                raise ValueError("the entry does not decompress as zstd (its last frame is cut off)")
            at -= len(frame.unused_data)
    except zstandard.ZstdError as error:
        raise ValueError(f"the entry does not decompress as zstd ({error})") from None


def _content_size(data: bytes) -> int:
    """Return the size that the first frame states, or -1."""
    try:
        return zstandard.frame_content_size(data)
    except zstandard.ZstdError:
        return -1


def read(
    client: redis.Redis, stream: str, after: str, *, entries: int, block_ms: int | None = None
) -> list[tuple[str, dict[bytes, bytes]]]:
    """Read up to `entries` entries after position `after`: (entry id, fields). Empty when nothing came within `block_ms`."""
    answer: Any = client.xread({stream: after}, count=entries, block=block_ms)
    if not answer:
        return []
    # A list of (stream, entries) from older protocol versions, {stream: [entries]} from version 3.
    found = answer[0][1] if isinstance(answer, list) else next(iter(answer.values()))[0]
    return [(entry.decode(), fields) for entry, fields in found]


def as_pair(position: str) -> tuple[int, int]:
    """Return an entry id as two numbers, so that positions can be compared."""
    milliseconds, _, sequence = position.partition("-")
    return int(milliseconds), int(sequence or 0)


def after(position: str) -> str:
    """Return the smallest entry id after `position`."""
    milliseconds, sequence = as_pair(position)
    return f"{milliseconds}-{sequence + 1}"


@dataclass(frozen=True)
class StreamState:
    """The numbers that a stream keeps of itself: entries ever added, entries now, and the id of the newest ever added."""

    added: int
    length: int
    last_id: str

    @property
    def removed(self) -> int:
        """The number of entries that any process has removed so far; the oldest go first."""
        return self.added - self.length


def state(client: redis.Redis, stream: str) -> StreamState:
    """Return the numbers of one stream; zeros when it does not exist yet."""
    try:
        info = client.xinfo_stream(stream)
    except redis.ResponseError:
        return StreamState(0, 0, START)
    last = info["last-generated-id"]
    return StreamState(
        int(info["entries-added"]), int(info["length"]), last.decode() if isinstance(last, bytes) else str(last)
    )


def trim(client: redis.Redis, stream: str, position: str) -> int:
    """Remove all entries up to and including `position`. Return the number of removed entries."""
    return int(client.xtrim(stream, minid=after(position), approximate=False))
