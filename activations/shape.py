"""SQL that gives rows of a sync one form: key, hash, JSON document, and what is wrong with them.

The same SQL shapes the model's rows and what a destination holds, so that two rows are equal exactly when their hashes
are. Values that do not fit the declared type become a problem of that row, not an error of the whole query (whose
message would hold the value).
"""

from __future__ import annotations

from collections.abc import Sequence

from activations.base import DOCUMENT, HASH, KEY, NAMES, VALUES
from activations.declaration import Field, Sync
from searchflow.quoting import quoted

PROBLEM = "__problem"
LONGEST_KEY = 2_500
"""The longest key, in bytes. With the sync's name a longer one does not fit into an entry of PostgreSQL's indexes
(2,704 bytes), and would fail the whole batch."""
SQL_TYPES = {"text": "VARCHAR"}


def _sql_type(field: Field) -> str:
    return SQL_TYPES.get(field.type, field.type.upper())


def _cast(field: Field) -> str:
    return f"TRY_CAST({quoted(field.source)} AS {_sql_type(field)}) AS {quoted(field.name)}"


def _problem(field: Field, key: str) -> list[str]:
    source, cast = quoted(field.source), f"TRY_CAST({quoted(field.source)} AS {_sql_type(field)})"
    cases = []
    if field.name == key:
        too_long = f"strlen({cast}::VARCHAR) > {LONGEST_KEY}"
        unusable = f"{source} IS NULL OR {cast}::VARCHAR = '' OR contains({cast}::VARCHAR, chr(0)) OR {too_long}"
        cases.append(f"WHEN {unusable} THEN 'the key {field.name} is empty or cannot be used as one'")
    elif field.nulls == "reject":
        cases.append(f"WHEN {source} IS NULL THEN '{field.name} is empty, and the sync requires it'")
    if field.type != "text":
        cases.append(f"WHEN {source} IS NOT NULL AND {cast} IS NULL THEN '{field.name} does not fit {field.type}'")
    return cases


def shaped(sync: Sync, relation: str) -> str:
    """Return a SELECT over `relation` (the model, or a destination's rows under the names of the model's columns)."""
    cases = [case for field in sync.fields for case in _problem(field, sync.key)]
    columns = ", ".join(_cast(field) for field in sync.fields)
    typed = f"SELECT {columns}, CASE {' '.join(cases)} ELSE NULL END AS {PROBLEM} FROM {relation}"
    return _grouped(sync, typed) if sync.group is not None else _flat(sync, typed)


def _flat(sync: Sync, typed: str) -> str:
    return f"""
        SELECT {_key(sync)} AS {KEY},
            {_document(sync)}::VARCHAR AS {DOCUMENT}, md5({DOCUMENT})::UUID AS {HASH}, {PROBLEM}, *
            EXCLUDE ({PROBLEM})
        FROM ({typed})"""


def _key(sync: Sync) -> str:
    """Return SQL for the key as text; for a key that is too long it gives a digest, so that the ledger can say which
    row it refused."""
    key = f"coalesce({quoted(sync.key)}::VARCHAR, '')"
    return f"CASE WHEN strlen({key}) > {LONGEST_KEY} THEN 'too long: ' || md5({key}) ELSE {key} END"


def _document(sync: Sync) -> str:
    """Return SQL for the row as JSON. A null that must not empty the destination's field is left out."""
    kept = [field for field in sync.fields if field.nulls == "keep"]
    document = _packed([field for field in sync.fields if field not in kept])
    # A merge patch (RFC 7396) drops the patch's nulls and leaves those of its target.
    return f"json_merge_patch({document}, {_packed(kept)})" if kept else document


def _packed(fields: Sequence[Field]) -> str:
    return f"to_json(struct_pack({', '.join(f'{quoted(each.name)} := {quoted(each.name)}' for each in fields)}))"


def _grouped(sync: Sync, typed: str) -> str:
    """Return SQL that gives one row per key; members are ordered by name, because the order of a hash's fields means
    nothing."""
    assert sync.group is not None
    member, value = quoted(sync.group.member), quoted(sync.group.value)
    pair = f"concat(to_json({member}), ':', coalesce(to_json({value}::VARCHAR)::VARCHAR, 'null'))"
    ordered = f"ORDER BY {member}) FILTER ({member} IS NOT NULL)"
    return f"""
        SELECT *, md5({DOCUMENT})::UUID AS {HASH}
        FROM (
            SELECT {_key(sync)} AS {KEY},
                list({member}::VARCHAR {ordered} AS {NAMES},
                list({value}::VARCHAR {ordered} AS {VALUES},
                concat('{{', string_agg({pair}, ',' {ordered}, '}}') AS {DOCUMENT},
                CASE
                    WHEN max({PROBLEM}) IS NOT NULL THEN max({PROBLEM})
                    WHEN count({member}) > count(DISTINCT {member}) THEN 'one {sync.group.member} has two rows'
                END AS {PROBLEM}
            FROM ({typed}) GROUP BY {quoted(sync.key)}
        )"""


def payload_columns(sync: Sync) -> list[str]:
    """Return the columns of `shaped` that a batch carries besides key, hash and document."""
    return [NAMES, VALUES] if sync.group is not None else [field.name for field in sync.fields]
