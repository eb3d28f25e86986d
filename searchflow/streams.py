"""The event streams: how entries are written and read (CONTRACTS section 2).

An entry holds one event or several separated by newlines in its field `data`; the field `codec` says `zstd` when it is
compressed, and `traceparent` (W3C) which span published it, where that is traced. Batching makes a producer about six
times cheaper than one entry an event; readers treat both alike.
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
"""The first shard of each type; where there are more, the second is `searchflow:events:search:1` and so on."""
EVENT_TYPES = event_types.NAMES
START = "0-0"
"""The position before the first entry."""

MAX_DECOMPRESSED = 32 * 1024 * 1024
"""Bytes: 500 events of the largest size. A larger entry is not a batch of events but an attack or an accident."""
MAX_READ = 256 * 1024 * 1024
"""Bytes, those of lines that are too large and not kept among them."""
MAX_LINES = 100_000
MAX_NEWLINES = 1_000_000
"""Blank lines cost time too."""
COMPRESSED_BYTES = 256
"""Decompressed at a time: four bytes may become 128 KiB, so a piece is at most 8 MiB."""
PART_BYTES = 1024 * 1024
AT_ONCE_BYTES = 4 * 1024 * 1024
"""A frame that says it is no larger is decompressed by one call, which is faster and never gives more."""


def shard_name(event_type: str, shard: int) -> str:
    """The stream of one shard. Shard 0 has the contract's name, so adding shards leaves nothing behind."""
    stream = EVENT_STREAMS[event_type]
    return stream if shard == 0 else f"{stream}:{shard}"


def names(settings: Settings) -> dict[str, list[str]]:
    """The streams of each event type, by shard."""
    shards = range(settings.stream_shards)
    return {event_type: [shard_name(event_type, shard) for shard in shards] for event_type in EVENT_TYPES}


def connect(settings: Settings) -> redis.Redis:
    """A client; bytes in, bytes out. Checks that the server answers.

    Raises:
        ServiceError: it does not, or it refuses us.
    """
    valkey.check(settings)
    return valkey.client(settings)


def encode(lines: Sequence[bytes], codec: str | None) -> dict[bytes, bytes]:
    """The fields of one entry for `lines` (each one event, without a newline)."""
    return encode_text(b"\n".join(lines), codec)


def encode_text(data: bytes | memoryview, codec: str | None) -> dict[bytes, bytes]:
    """The fields of one entry for events that are one text already: newlines between them, none at the end."""
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
    """Append `lines` to the stream of `event_type`, `batch` events an entry. Returns how many events were written.

    With several `shards` the entries go to their streams in turn. With `capacity`, waits while that many entries or
    more are unread (back-pressure; nothing is ever dropped) and tells `on_wait` the number waiting.

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
    """`publish` for entries that are joined already: (events with newlines between them, how many), at most `batch`."""
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
    """The lines of one entry. A blank line is not an event.

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
    """`decode` in little memory, whatever the entry holds: of a line that is too large its head and a digest.

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
    """The pieces in parts of a size whose lines, however short, fit into memory; None at the end."""
    for piece in pieces:
        if len(piece) <= PART_BYTES:
            yield piece
        else:
            yield from (piece[at : at + PART_BYTES] for at in range(0, len(piece), PART_BYTES))
    yield None


class EntryTooLarge(ValueError):
    """An entry that no batch of events is."""

    def __init__(self, value: int, most: int, what: str) -> None:
        super().__init__(
            f"the entry holds {value:,} {what} or more; at most {most:,} are read. Publish smaller batches"
        )


def _pieces(fields: dict[bytes, bytes]) -> Iterator[bytes]:
    """The bytes of an entry, decompressed piece by piece, so that none is large."""
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
    """All frames of a compressed text, one behind the other."""
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
    """What the first frame says of its size, or -1."""
    try:
        return zstandard.frame_content_size(data)
    except zstandard.ZstdError:
        return -1


def read(
    client: redis.Redis, stream: str, after: str, *, entries: int, block_ms: int | None = None
) -> list[tuple[str, dict[bytes, bytes]]]:
    """Up to `entries` entries after position `after`: (entry id, fields). Empty when nothing came within `block_ms`."""
    answer: Any = client.xread({stream: after}, count=entries, block=block_ms)
    if not answer:
        return []
    # A list of (stream, entries) from older protocol versions, {stream: [entries]} from version 3.
    found = answer[0][1] if isinstance(answer, list) else next(iter(answer.values()))[0]
    return [(entry.decode(), fields) for entry, fields in found]


def as_pair(position: str) -> tuple[int, int]:
    """An entry id as numbers, so that positions compare."""
    milliseconds, _, sequence = position.partition("-")
    return int(milliseconds), int(sequence or 0)


def after(position: str) -> str:
    """The smallest entry id behind `position`."""
    milliseconds, sequence = as_pair(position)
    return f"{milliseconds}-{sequence + 1}"


@dataclass(frozen=True)
class StreamState:
    """Numbers a stream keeps of itself: entries ever added, entries there now, the id of the newest ever added."""

    added: int
    length: int
    last_id: str

    @property
    def removed(self) -> int:
        """Entries removed so far, by anyone: they go from the oldest on."""
        return self.added - self.length


def state(client: redis.Redis, stream: str) -> StreamState:
    """The numbers of one stream; zeros when it does not exist yet."""
    try:
        info = client.xinfo_stream(stream)
    except redis.ResponseError:
        return StreamState(0, 0, START)
    last = info["last-generated-id"]
    return StreamState(
        int(info["entries-added"]), int(info["length"]), last.decode() if isinstance(last, bytes) else str(last)
    )


def trim(client: redis.Redis, stream: str, position: str) -> int:
    """Remove everything up to and including `position`. Returns how many entries went."""
    return int(client.xtrim(stream, minid=after(position), approximate=False))
