"""The stream server as a place: everything that our own keys hold of the person, and its append-only file of commands.

Entries are not cut out of event streams: waiting entries are ingested, which leaves the person out and removes them
(`drain`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import redis

from searchflow import streams
from searchflow.erasure.place import Finding, Job
from searchflow.erasure.terms import Terms
from searchflow.errors import FencedError, SearchFlowError
from searchflow.ingestion import worker
from searchflow.services import locks, valkey

NAME = "streams"
OURS = (b"searchflow:*", b"{searchflow:*")
KEYS_A_ROUND = 1000
ENTRIES_A_READ = 1000
SMALL_HASH = 100
"""The most fields of a hash that is read whole."""
PATIENCE_SECONDS = 120.0
FOLLOWER_SECONDS = 20.0
"""The time after which a follower counts as stuck, so that its stream is drained here. A follower commits every second."""
LOGS = (
    ("SLOWLOG", "RESET"),
    ("COMMANDLOG", "RESET", "slow"),
    ("COMMANDLOG", "RESET", "large-request"),
    ("COMMANDLOG", "RESET", "large-reply"),
)
"""The commands that empty the server's logs, which hold commands with their arguments."""


class Bus:
    """The stream server as a place that holds a person and lets go of them."""

    name = NAME

    def search(self, job: Job) -> list[Finding]:
        """Count entries and fields for each key. Keys that are named after the person count under their name without them."""
        found: dict[str, int] = {}
        with valkey.client(job.settings) as client:
            for key, members in _about(client, job.terms):
                name = _shown(key, job.terms)
                found[name] = found.get(name, 0) + (1 if members is None else len(members))
        return [Finding(NAME, name, count) for name, count in sorted(found.items())]

    def erase(self, job: Job) -> None:
        """Remove everything about the person but entries of event streams."""
        events = {name.encode() for shards in streams.names(job.settings).values() for name in shards}
        with valkey.client(job.settings) as client:
            for key, members in _about(client, job.terms):
                if key in events:
                    continue
                if members is None:
                    client.unlink(key)
                else:
                    _remove(client, key, members)


def drain(job: Job, clock: Callable[[], Any]) -> None:
    """Let everything that waits in the event streams be ingested, so that no entry with the person is left.

    A stream that has a follower is left to it for as long as it makes progress: two workers on one stream fence each other.

    Raises:
        SearchFlowError: another worker drains a stream and makes no progress.
    """
    for event_type, shards in streams.names(job.settings).items():
        for shard, name in enumerate(shards):
            with valkey.client(job.settings) as client:
                last = streams.state(client, name).last_id
            begun = time.monotonic()
            while _waits(job, name, last):
                waited = time.monotonic() - begun
                if waited > PATIENCE_SECONDS:
                    raise SearchFlowError(
                        f"The stream {name} is not drained. Run `searchflow ingest`, then `searchflow forget` again."
                    )
                if waited < FOLLOWER_SECONDS and locks.is_held(job.settings, locks.follower(name)):
                    time.sleep(0.1)
                    continue
                # A worker that a user started may be faster; it leaves the person out too.
                with contextlib.suppress(FencedError):
                    worker.ingest_stream(job.settings, event_type, shard=shard, clock=clock)


def is_on_its_way(finding: Finding) -> bool:
    """Return True for entries of event streams, which no worker has read yet."""
    return finding.place == NAME and finding.what.startswith(tuple(streams.EVENT_STREAMS.values()))


def _waits(job: Job, stream: str, last: str) -> bool:
    """Return True while the stream has an entry up to `last`."""
    with valkey.client(job.settings) as client:
        found: Any = client.xrange(stream, max=last, count=1)
        return bool(found)


def forget_commands(job: Job) -> None:
    """Let the server rewrite its append-only file, without the commands that brought what is gone, and empty its logs."""
    with valkey.client(job.settings, timeout=60) as client:
        try:
            for command in LOGS:
                with contextlib.suppress(redis.ResponseError):
                    client.execute_command(*command)
            info: Any = client.info("persistence")
            if info.get("aof_enabled"):
                _rewrite(client)
                job.count("append-only file rewritten", 1)
            if job.settings.redis_url is not None:
                job.left.append("snapshots and replicas of the Redis server: its operator's, they age out")
        except (redis.exceptions.NoPermissionError, redis.ResponseError):
            job.left.append("the Redis server's files: this user may not have them rewritten (BGREWRITEAOF)")


def _rewrite(client: redis.Redis) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    asked = False
    while time.monotonic() < deadline:
        info: Any = client.info("persistence")
        busy = info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"] or info["rdb_bgsave_in_progress"]
        if not busy and asked:
            if info["aof_last_bgrewrite_status"] == "ok":
                return
            break
        if not busy:
            client.bgrewriteaof()
            asked = True
        time.sleep(0.05)
    raise SearchFlowError(
        "The stream server did not rewrite its append-only file: read its log, then run `searchflow forget` again."
    )


def _about(client: redis.Redis, terms: Terms) -> Iterator[tuple[bytes, list[Any] | None]]:
    """Yield keys about the person, each with the members that are about them, or with None when the whole key is."""
    for pattern in OURS:
        batch: list[bytes] = []
        for key in client.scan_iter(match=pattern, count=KEYS_A_ROUND):
            batch.append(key)
            if len(batch) >= KEYS_A_ROUND:
                yield from _of_keys(client, batch, terms)
                batch = []
        yield from _of_keys(client, batch, terms)


def _of_keys(client: redis.Redis, keys: list[bytes], terms: Terms) -> Iterator[tuple[bytes, list[Any] | None]]:
    named = [key for key in keys if terms.found_in(key)]
    yield from ((key, None) for key in named)
    others = [key for key in keys if key not in set(named)]
    kinds = dict(zip(others, _pipelined(client, "type", others), strict=True))
    clean = _hashes_without(client, [key for key, kind in kinds.items() if kind == b"hash"], terms)
    for key, kind in kinds.items():
        members = [] if key in clean else list(_members(client, key, kind, terms))
        if members:
            yield key, None if kind == b"string" else members


def _hashes_without(client: redis.Redis, keys: list[bytes], terms: Terms) -> set[bytes]:
    """Return the small hashes that do not hold the person. There is one for each user, so many are read at a time."""
    small = [key for key, size in zip(keys, _pipelined(client, "hlen", keys), strict=True) if size <= SMALL_HASH]
    contents = [
        b"\n".join(part for pair in each.items() for part in pair) for each in _pipelined(client, "hgetall", small)
    ]
    return {key for key, perhaps in zip(small, terms.perhaps_in_bytes(contents), strict=True) if not perhaps}


def _pipelined(client: redis.Redis, command: str, keys: list[bytes]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        getattr(pipeline, command)(key)
    return pipeline.execute() if keys else []


def _members(client: redis.Redis, key: bytes, kind: bytes, terms: Terms) -> Iterator[Any]:
    """Yield the entry ids, fields or members of a key that hold an identifier."""
    if kind == b"stream":
        yield from _entries(client, key, terms)
    elif kind == b"hash":
        for name, value in client.hscan_iter(key, count=KEYS_A_ROUND):
            if terms.found_in(name) or terms.found_in(value):
                yield name
    elif kind == b"set":
        yield from (member for member in client.sscan_iter(key, count=KEYS_A_ROUND) if terms.found_in(member))
    elif kind == b"zset":
        yield from (member for member, _ in client.zscan_iter(key, count=KEYS_A_ROUND) if terms.found_in(member))
    elif kind == b"list":
        members: Any = client.lrange(key, 0, -1)
        yield from (member for member in members if terms.found_in(member))
    elif kind == b"string":
        text: Any = client.get(key)
        if text is not None and terms.found_in(text):
            yield key


def _entries(client: redis.Redis, key: bytes, terms: Terms) -> Iterator[bytes]:
    after: str | bytes = "-"
    while True:
        entries: Any = client.xrange(key, min=after, count=ENTRIES_A_READ)
        for entry, fields in entries:
            try:
                lines = streams.decode(fields)
            except ValueError:
                lines = list(fields.values())
            if any(terms.found_in(line) for line in lines):
                yield entry
        if len(entries) < ENTRIES_A_READ:
            return
        after = b"(" + entries[-1][0]


def _remove(client: redis.Redis, key: bytes, members: list[Any]) -> None:
    removing: dict[bytes, Callable[..., Any]] = {
        b"stream": client.xdel,
        b"hash": client.hdel,
        b"set": client.srem,
        b"zset": client.zrem,
    }
    kind: Any = client.type(key)
    if kind == b"list":
        for member in members:
            client.lrem(key, 0, member)
    elif kind in removing:
        removing[kind](key, *members)


def _shown(key: bytes, terms: Terms) -> str:
    """Return a key's name without the person in it."""
    for start, end in reversed(terms.spans(key)):
        key = key[:start] + b"*" + key[end:]
    return key.decode(errors="replace")
