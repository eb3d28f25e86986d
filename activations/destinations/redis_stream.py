"""A Redis stream as an outbox: one entry per row with the field `data` (JSON), once per key, ever.

    destination:
      type: redis_stream
      stream: searchflow:email:outbox

A hash beside the stream remembers which key became which entry. One script looks and appends in one step, so that a
batch repeated after a crash appends nothing twice, also when the reply or the ledger's record of it was lost. The
hash's name puts it in the stream's slot of a cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import redis
from msgspec import Meta

from activations.base import Batch, Delivery, Destination
from activations.declaration import Sync
from activations.destinations import _redis
from searchflow.settings import Settings

MODES = frozenset({"append"})
KEEPS_FIELDS = False
GROUPS = False
DRIFT = frozenset({"ours"})
APPEND_NEW = """
local repeated = 0
for i = 1, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then
    repeated = repeated + 1
  else
    local entry = redis.call('XADD', KEYS[1], '*', 'data', ARGV[i + 1])
    redis.call('HSET', KEYS[2], ARGV[i], entry)
  end
end
return repeated
"""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of a sync file about the stream."""

    stream: Annotated[str, Meta(min_length=1, pattern=r"^[^{}]+$")]


def open_destination(sync: Sync, options: Options, settings: Settings) -> RedisStream:
    """Return the destination; it does not connect yet."""
    return RedisStream(sync, options, _redis.client(settings))


def keys_of(stream: str) -> str:
    """Return the name of the hash that remembers key -> entry id."""
    return f"{{{stream}}}:keys"


class RedisStream(Destination):
    """Destination that appends through the script."""

    def __init__(self, sync: Sync, options: Options, client: redis.Redis) -> None:
        self._sync, self._options, self._client = sync, options, client
        self._where = f"activations/syncs/{sync.name}.yaml, destination.stream"
        self._append = client.register_script(APPEND_NEW)

    def deliver(self, batch: Batch) -> Delivery:
        """Append the rows whose key is new."""
        pairs = [part for pair in zip(batch.keys, batch.documents, strict=True) for part in pair]
        with _redis.sorted_failures(self._where):
            repeated = self._append(keys=[self._options.stream, keys_of(self._options.stream)], args=pairs)
        return Delivery(repeated=int(repeated))

    def read(self, buckets: Sequence[int] | None = None) -> pa.Table:
        """Return the keys that were ever appended. Entries themselves belong to the consumer, who may have taken them.
        Return the keys that were ever appended. Entries themselves belong to the consumer, who may have taken them."""
        with _redis.sorted_failures(self._where):
            found = [key.decode() for key, _ in self._client.hscan_iter(keys_of(self._options.stream), count=1000)]
        return pa.table({self._sync.key: pa.array(sorted(set(found)), pa.string())})

    def look(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Return which entry each key became, and what it holds, unless the consumer has taken it."""
        stream, rows = self._options.stream, list[dict[str, Any]]()
        with _redis.sorted_failures(self._where):
            entries = self._client.hmget(keys_of(stream), list(keys)) if keys else []
            for key, entry in zip(keys, entries, strict=True):
                if isinstance(entry, bytes):
                    found: Any = self._client.xrange(stream, entry.decode(), entry.decode())
                    held = msgspec.json.decode(found[0][1][b"data"]) if found else {"taken": "by its consumer"}
                    rows.append({self._sync.key: key, "entry": entry.decode(), **held})
        return rows

    def close(self) -> None:
        """Close the connection to the server."""
        self._client.close()
