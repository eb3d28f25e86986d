"""Redis hashes, one per key: replaced as a whole, so that a reader never sees a half-written one.

    destination:
      type: redis_hash
      prefix: "searchflow:reco:"    # the hash of user u is searchflow:reco:u
      ttl_days: 14                  # refreshed at half of it, also when nothing changes
      fallback: {key: __popular__, name: popular}   # this key's hash has this name and never expires

Fields are the members of a grouped sync; of a flat one, the sync's fields. Keys of one batch are replaced by one
transaction, which a Redis Cluster would refuse: one server (or one with replicas).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import redis
from msgspec import Meta

from activations.base import KEY, NAMES, VALUES, Batch, Delivery, Destination, Operation, Rejection
from activations.declaration import Sync
from activations.destinations import _redis, _resp
from searchflow.settings import Settings

MODES = frozenset({"upsert", "mirror"})
KEEPS_FIELDS = False
GROUPS = True
DRIFT = frozenset({"ours"})
SCAN_COUNT = 1000


class Fallback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rows for users who have none of their own."""

    key: str  # in the model
    name: str  # after the prefix


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of a sync file about the hashes."""

    prefix: Annotated[str, Meta(min_length=1)]
    ttl_days: Annotated[float, Meta(gt=0)] | None = None
    fallback: Fallback | None = None

    @property
    def refresh_after(self) -> timedelta | None:
        """Return the age after which rows are sent again, so that what is still right does not expire."""
        return timedelta(days=self.ttl_days / 2) if self.ttl_days is not None else None


def open_destination(sync: Sync, options: Options, settings: Settings) -> RedisHash:
    """Return the destination; it does not connect yet."""
    return RedisHash(sync, options, _redis.client(settings))


class RedisHash(Destination):
    """Destination that replaces whole hashes."""

    def __init__(self, sync: Sync, options: Options, client: redis.Redis) -> None:
        self._sync, self._options, self._client = sync, options, client
        self._where = f"activations/syncs/{sync.name}.yaml, destination.prefix"

    def deliver(self, batch: Batch) -> Delivery:
        """Replace or remove the hashes of a batch."""
        with _redis.sorted_failures(self._where):
            if batch.operation is Operation.REMOVE:
                self._client.unlink(*(self._name(key) for key in batch.keys))
                return Delivery()
            keys, mappings = batch.table[KEY].combine_chunks(), self._mappings(batch)
            rejections = self._problems(keys, mappings)
            if rejections:
                refused = pa.array([each.key for each in rejections], keys.type)
                taken = pc.invert(pc.is_in(keys, refused))
                keys, mappings = keys.filter(taken), mappings.filter(taken)
            if len(keys):
                self._replace(keys, mappings)
            return Delivery(rejections)

    def read(self, buckets: Sequence[int] | None = None) -> pa.Table:
        """Return every hash under the prefix, one row for each member (grouped) or a key (flat)."""
        rows: list[dict[str, str]] = []
        with _redis.sorted_failures(self._where):
            for names in self._scan():
                pipeline = self._client.pipeline(transaction=False)
                for name in names:
                    pipeline.hgetall(name)
                for name, mapping in zip(names, pipeline.execute(), strict=True):
                    rows.extend(self._rows(self._key(name), mapping))
        fields = [field.name for field in self._sync.fields]
        return pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in fields})

    def look(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Return the hashes of some keys, and when they expire."""
        rows = []
        with _redis.sorted_failures(self._where):
            for key in keys:
                mapping: Any = self._client.hgetall(self._name(key))
                if mapping:
                    texts = {
                        name.decode(errors="replace"): value.decode(errors="replace") for name, value in mapping.items()
                    }
                    seconds = int(self._client.ttl(self._name(key)))
                    left = round(seconds / 3600, 1) if seconds >= 0 else None
                    rows.append({"hash": self._name(key), "expires_in_hours": left} | texts)
        return rows

    def close(self) -> None:
        """Close the connection to the server."""
        self._client.close()

    def _name(self, key: str) -> str:
        fallback = self._options.fallback
        return self._options.prefix + (fallback.name if fallback and key == fallback.key else key)

    def _key(self, name: str) -> str:
        fallback, rest = self._options.fallback, name.removeprefix(self._options.prefix)
        return fallback.key if fallback and rest == fallback.name else rest

    def _problems(self, keys: pa.Array, mappings: _resp.Mappings) -> list[Rejection]:
        fallback = self._options.fallback
        taken = [] if fallback is None else keys.filter(pc.equal(keys, fallback.name)).to_pylist()
        empty = keys.filter(pc.equal(mappings.counts, 0)).to_pylist()
        return [
            *(Rejection(key, "this key's hash would be the fallback's") for key in taken),
            *(Rejection(key, "there is nothing to store") for key in empty if key not in taken),
        ]

    def _mappings(self, batch: Batch) -> _resp.Mappings:
        table = batch.table
        if self._sync.group is not None:
            return _resp.of_lists(table[NAMES].combine_chunks(), table[VALUES].combine_chunks())
        columns = {field.name: table[field.name].to_pylist() for field in self._sync.fields}
        return _resp.of_columns({
            name: pa.array([None if value is None else str(value) for value in values], pa.string())
            for name, values in columns.items()
        })  # fmt: skip

    def _replace(self, keys: pa.Array, mappings: _resp.Mappings) -> None:
        fallback, days = self._options.fallback, self._options.ttl_days
        names = pc.binary_join_element_wise(self._options.prefix, keys, "")
        dying = names
        if fallback is not None:
            is_fallback = pc.equal(keys, fallback.key)
            names = pc.if_else(is_fallback, self._options.prefix + fallback.name, names)
            dying = names.filter(pc.invert(is_fallback))  # the fallback must be there when all else has expired
        commands = [_resp.unlink(names), _resp.hset(names, mappings)]
        if days is not None:
            commands.append(_resp.pexpire(dying, int(timedelta(days=days) / timedelta(milliseconds=1))))
        _resp.transaction(self._client, commands, 1 + len(names) + (len(dying) if days is not None else 0))

    def _scan(self) -> Iterator[list[str]]:
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self._options.prefix) + "*"
        names: list[str] = []
        for name in self._client.scan_iter(match=pattern, count=SCAN_COUNT, _type="hash"):
            names.append(name.decode())
            if len(names) == SCAN_COUNT:
                yield names
                names = []
        if names:
            yield names

    def _rows(self, key: str, mapping: dict[bytes, bytes]) -> list[dict[str, str]]:
        texts = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in mapping.items()}
        group = self._sync.group
        if group is None:
            return [{self._sync.key: key} | texts]
        return [{self._sync.key: key, group.member: name, group.value: value} for name, value in texts.items()]
