"""Commands packed from columns are byte for byte what the client library would send."""

from __future__ import annotations

import pyarrow as pa
from hiredis import pack_command

from activations.destinations import _resp

KEYS = ["u:1", "u:ü\r\n", "u:$3"]
NAMES = [["Lisbon", "Rome"], [""], ["a", "*2\r\n", "naïve"]]
VALUES = [["1.0", "0.5"], ["x" * 1200], ["", None, "$-1"]]


def expected(rows: list[dict[str, str]]) -> bytes:
    return b"".join(
        pack_command(("HSET", key, *[text for pair in row.items() for text in pair]))
        for key, row in zip(KEYS, rows, strict=True)
    )


def test_lists_of_names_and_values_become_one_command_a_key() -> None:
    lists = [pa.array([["before"], *each], pa.list_(pa.string())).slice(1) for each in (NAMES, VALUES)]
    rows = [
        {name: value for name, value in zip(*pair, strict=True) if value is not None}
        for pair in zip(NAMES, VALUES, strict=True)
    ]
    assert _resp.hset(pa.array(KEYS), _resp.of_lists(*lists)) == expected(rows)


def test_columns_become_fields_and_nulls_are_left_out() -> None:
    columns = {"seen": pa.array(["2026-03-09", None, ""]), "ünï": pa.array([None, "b", "c"])}
    rows = [{"seen": "2026-03-09"}, {"ünï": "b"}, {"seen": "", "ünï": "c"}]
    assert _resp.hset(pa.array(KEYS), _resp.of_columns(columns)) == expected(rows)


def test_a_row_without_fields_is_counted_as_empty() -> None:
    names = pa.array([["a"], None, []], pa.list_(pa.string()))
    values = pa.array([[None], None, []], pa.list_(pa.string()))
    assert _resp.of_lists(names, values).counts.to_pylist() == [0, 0, 0]


def test_keys_are_removed_by_one_command_and_expire_by_one_each() -> None:
    keys = pa.array(KEYS)
    assert _resp.unlink(keys) == pack_command(("UNLINK", *KEYS))
    assert _resp.pexpire(keys, 86_400_000) == b"".join(pack_command(("PEXPIRE", key, "86400000")) for key in KEYS)
    assert _resp.pexpire(keys.slice(0, 0), 5) == b""
