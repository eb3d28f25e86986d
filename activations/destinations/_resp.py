"""Commands of the Redis protocol packed from Arrow columns: no Python object per field, no reply per field.

The client library packs each argument by itself, which costs more than the server needs to execute it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import redis


@dataclass(frozen=True)
class Mappings:
    """The fields of each row's hash: how many there are, and all of them packed (name, value, name, value)."""

    counts: pa.Array
    packed: pa.Array

    def filter(self, wanted: pa.Array) -> Mappings:
        """Return some of the rows."""
        return Mappings(self.counts.filter(wanted), self.packed.filter(wanted))


def bulk(texts: pa.Array) -> pa.Array:
    """Return each text, packed as an argument of a command."""
    return pc.binary_join_element_wise("$", pc.cast(pc.binary_length(texts), pa.string()), "\r\n", texts, "\r\n", "")


def of_lists(names: pa.ListArray, values: pa.ListArray) -> Mappings:
    """Return mappings from two lists for each row, of names and of values. A value of null is left out."""
    fields, texts = names.flatten(), values.flatten()
    counts = pc.fill_null(pc.list_value_length(names), 0).to_numpy()
    if texts.null_count:
        there = pc.is_valid(texts)
        rows = np.repeat(np.arange(len(names)), counts)[there.to_numpy(zero_copy_only=False)]
        fields, texts, counts = fields.filter(there), texts.filter(there), np.bincount(rows, minlength=len(names))
    ends = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    pairs = pc.binary_join_element_wise(bulk(fields), bulk(texts), "")
    return Mappings(pa.array(counts), pc.binary_join(pa.ListArray.from_arrays(pa.array(ends), pairs), ""))


def of_columns(columns: dict[str, pa.Array]) -> Mappings:
    """Return mappings from one column of texts for each field. A value of null is left out."""
    pairs = [
        pc.if_else(pc.is_valid(texts), pc.binary_join_element_wise(bulk(pa.array([name]))[0], bulk(texts), ""), "")
        for name, texts in columns.items()
    ]
    counts = sum(pc.is_valid(texts).cast(pa.int64()).to_numpy(zero_copy_only=False) for texts in columns.values())
    return Mappings(pa.array(counts), pc.binary_join_element_wise(*(pc.fill_null(each, "") for each in pairs), ""))


def unlink(names: pa.Array) -> bytes:
    """Return one command that removes some keys."""
    return f"*{len(names) + 1}\r\n$6\r\nUNLINK\r\n".encode() + _joined(bulk(names))


def hset(names: pa.Array, mappings: Mappings) -> bytes:
    """Return a command that sets each hash."""
    arguments = pc.cast(pc.add(pc.multiply(mappings.counts, 2), 2), pa.string())
    commands = pc.binary_join_element_wise("*", arguments, "\r\n$4\r\nHSET\r\n", bulk(names), mappings.packed, "")
    return _joined(commands)


def pexpire(names: pa.Array, milliseconds: int) -> bytes:
    """Return a command that lets each key expire."""
    life = str(milliseconds)
    ends = f"${len(life)}\r\n{life}\r\n"
    return _joined(pc.binary_join_element_wise("*3\r\n$7\r\nPEXPIRE\r\n", bulk(names), ends, ""))


def transaction(client: redis.Redis, commands: Sequence[bytes], count: int) -> list[Any]:
    """Execute `count` packed commands in one step, and return their answers.

    Raises:
        RedisError: the error of the first command that was refused, as the client library says it.
    """
    packed = b"".join((b"*1\r\n$5\r\nMULTI\r\n", *commands, b"*1\r\n$4\r\nEXEC\r\n"))
    connection = client.connection_pool.get_connection()
    try:
        connection.send_packed_command([packed])
        for _ in range(count + 1):  # OK, and QUEUED for each
            connection.read_response()
        answers: list[Any] = connection.read_response()
    except BaseException:
        connection.disconnect()  # answers may be left unread
        raise
    finally:
        client.connection_pool.release(connection)
    for answer in answers:
        if isinstance(answer, redis.RedisError):
            raise answer
    return answers


def _joined(texts: pa.Array) -> bytes:
    whole = pa.LargeListArray.from_arrays(pa.array([0, len(texts)], pa.int64()), texts)
    return bytes(pc.binary_join(whole, "")[0].as_buffer())
