"""Redis hashes, one per key: replaced as a whole, so that a reader never sees a half-written one.

    destination:
      type: redis_hash
      prefix: "searchflow:reco:"    # the hash of user u is searchflow:reco:u
      ttl_days: 14                  # refreshed at half of it, also when nothing changes
      fallback: {key: __popular__, name: popular}   # this key's hash has this name and never expires

Fields are the members of a grouped sync; of a flat one, the sync's fields. Keys of one batch are replaced by one script,
in one step, which a Redis Cluster would refuse: one server (or one with replicas).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import chain
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import redis
from msgspec import Meta

from activations.base import KEY, NAMES, VALUES, Batch, Delivery, Destination, Operation, Rejection
from activations.declaration import Sync
from activations.destinations import _redis
from searchflow.settings import Settings

MODES = frozenset({"upsert", "mirror"})
KEEPS_FIELDS = False
GROUPS = True
DRIFT = frozenset({"ours"})
SCAN_COUNT = 1000


FIELDS_AT_ONCE = 2000
"""Lua hands over so many arguments, and not many more."""
REPLACE = f"""
local at = 1
for number = 1, #KEYS do
  local ttl, last = tonumber(ARGV[at]), at + 1 + tonumber(ARGV[at + 1])
  redis.call('UNLINK', KEYS[number])
  for first = at + 2, last, {2 * FIELDS_AT_ONCE} do
    redis.call('HSET', KEYS[number], unpack(ARGV, first, math.min(last, first + {2 * FIELDS_AT_ONCE - 1})))
  end
  if ttl > 0 then redis.call('PEXPIRE', KEYS[number], ttl) end
  at = last + 1
end
"""
"""Of each key: how long it lives in milliseconds (0: for ever), how many texts follow, and name, value, name, value."""


class Fallback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rows for everybody who has none of their own."""

    key: str  # in the model
    name: str  # after the prefix


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sync file says about the hashes."""

    prefix: Annotated[str, Meta(min_length=1)]
    ttl_days: Annotated[float, Meta(gt=0)] | None = None
    fallback: Fallback | None = None

    @property
    def refresh_after(self) -> timedelta | None:
        """Rows older than this are sent again, so that what is still right does not expire."""
        return timedelta(days=self.ttl_days / 2) if self.ttl_days is not None else None


def open_destination(sync: Sync, options: Options, settings: Settings) -> RedisHash:
    """Does not connect yet."""
    return RedisHash(sync, options, _redis.client(settings))


class RedisHash(Destination):
    """Replaces whole hashes."""

    def __init__(self, sync: Sync, options: Options, client: redis.Redis) -> None:
        self._sync, self._options, self._client = sync, options, client
        self._where = f"activations/syncs/{sync.name}.yaml, destination.prefix"
        self._script = client.register_script(REPLACE)

    def deliver(self, batch: Batch) -> Delivery:
        """Replace or remove the hashes of a batch."""
        mappings = {} if batch.operation is Operation.REMOVE else dict(self._mappings(batch))
        rejections = [
            Rejection(key, reason) for key, mapping in mappings.items() if (reason := self._problem(key, mapping))
        ]
        for rejection in rejections:
            del mappings[rejection.key]
        with _redis.sorted_failures(self._where):
            if batch.operation is Operation.REMOVE:
                self._client.unlink(*(self._name(key) for key in batch.keys))
            elif mappings:
                self._replace_all(mappings)
        return Delivery(rejections)

    def read(self, buckets: Sequence[int] | None = None) -> pa.Table:
        """Every hash under the prefix, one row a member (grouped) or a key (flat)."""
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
        """The hashes of some keys, and when they expire."""
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
        """Close the connection."""
        self._client.close()

    def _name(self, key: str) -> str:
        fallback = self._options.fallback
        return self._options.prefix + (fallback.name if fallback and key == fallback.key else key)

    def _key(self, name: str) -> str:
        fallback, rest = self._options.fallback, name.removeprefix(self._options.prefix)
        return fallback.key if fallback and rest == fallback.name else rest

    def _problem(self, key: str, mapping: dict[str, str]) -> str | None:
        if self._options.fallback is not None and key == self._options.fallback.name:
            return "this key's hash would be the fallback's"
        return None if mapping else "there is nothing to store"

    def _mappings(self, batch: Batch) -> Iterator[tuple[str, dict[str, str]]]:
        if self._sync.group is not None:
            names, values = batch.table[NAMES].to_pylist(), batch.table[VALUES].to_pylist()
            for key, members, scores in zip(batch.keys, names, values, strict=True):
                pairs = zip(members, scores, strict=True)
                yield key, {name: value for name, value in pairs if value is not None}
            return
        fields = [field.name for field in self._sync.fields]
        for row in batch.table.select([KEY, *fields]).to_pylist():
            yield row[KEY], {name: str(row[name]) for name in fields if row[name] is not None}

    def _replace_all(self, mappings: Mapping[str, Mapping[str, str]]) -> None:
        fallback, days = self._options.fallback, self._options.ttl_days
        lives = int(timedelta(days=days or 0) / timedelta(milliseconds=1))
        texts: list[str | int] = []
        for key, mapping in mappings.items():
            # The fallback must be there when all else has expired.
            texts += (0 if fallback and key == fallback.key else lives, 2 * len(mapping))
            texts += chain.from_iterable(mapping.items())
        self._script(keys=[self._name(key) for key in mappings], args=texts)

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
