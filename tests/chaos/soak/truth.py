"""What stands in marts and destinations, against what must: a rebuild in another home, the models, and the post."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import duckdb
import psycopg

from searchflow import services, streams, tables, warehouse
from searchflow.ops import record
from searchflow.settings import Settings
from tests.chaos.soak.verdict import Finding

OF_THE_RUN = ("made_at",)
"""Columns that say when a row was made."""
NOT_FROM_RAW = ("ops.transformed_batches", "ops.model_runs", "ops.event_types")
"""Our own tables that say what a home's transformations did, and the one that each home fills from the declarations."""
EVERYBODY = "__popular__"
"""Whom the model calls so, the cache calls `popular`: the list for those it has nothing for."""
RECOMMENDED, OUTBOX = "searchflow:reco:", "searchflow:email:outbox"


@dataclass(frozen=True)
class Mail:
    """A message that the mail server took."""

    message_id: str
    to: str
    at: datetime


def copy_raw(source: Settings, target: Settings, folder: Path) -> None:
    """What a rebuild is made from: raw tables, and our own that models read."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [*(f"raw.{name}" for name in tables.RAW_TABLES), *record.TABLES]
    names = [name for name in names if name not in NOT_FROM_RAW and not name.startswith("ops.position_")]
    with warehouse.connect(source, read_only=True) as connection, warehouse.transaction(connection):
        for name in names:
            connection.execute(f"COPY (FROM {name}) TO '{folder / name}.parquet' (FORMAT parquet)")
    with warehouse.connect(target) as connection, warehouse.transaction(connection):
        for name in names:
            connection.execute(f"INSERT INTO {name} BY NAME FROM read_parquet('{folder / name}.parquet')")


def same_marts(one: Settings, other: Settings, folder: Path) -> Iterator[Finding]:
    """Findings about marts and activation models that differ, row by row. Fractions to six places: in which order an
    engine adds them up is its own affair."""
    folder.mkdir(parents=True, exist_ok=True)
    names = _export(one, folder, "kept")
    rebuilt = _export(other, folder, "rebuilt")
    if set(names) != set(rebuilt):
        yield Finding("marts differ from a rebuild", f"tables of one home only: {sorted(set(names) ^ set(rebuilt))}")
    with duckdb.connect(":memory:") as connection:
        for name in sorted(set(names) & set(rebuilt)):
            kept, made = (f"FROM read_parquet('{folder / f'{name}.{part}'}.parquet')" for part in ("kept", "rebuilt"))
            apart = [_except(connection, kept, made), _except(connection, made, kept)]
            if any(apart):
                yield Finding(
                    "marts differ from a rebuild",
                    f"{name}: {len(apart[0])} rows only here, {len(apart[1])} only in the rebuild, "
                    f"for example {(apart[0] or apart[1])[0]}",
                )


def _except(connection: duckdb.DuckDBPyConnection, one: str, other: str) -> list[tuple[object, ...]]:
    return connection.execute(f"{one} EXCEPT ALL {other}").fetchall()


def _export(settings: Settings, folder: Path, part: str) -> list[str]:
    with warehouse.connect(settings, read_only=True) as connection, warehouse.transaction(connection):
        columns: dict[str, list[str]] = defaultdict(list)
        for name, column, kind in connection.execute(
            "SELECT schema_name || '.' || table_name, column_name, data_type FROM duckdb_columns() "
            "WHERE database_name = 'lake' AND schema_name IN ('marts', 'activation') ORDER BY ALL"
        ).fetchall():
            if column not in OF_THE_RUN:
                quoted = f'"{column}"'
                columns[name].append(f"round({quoted}, 6) AS {quoted}" if kind in ("DOUBLE", "FLOAT") else quoted)
        for name, chosen in columns.items():
            target = folder / f"{name}.{part}.parquet"
            connection.execute(f"COPY (SELECT {', '.join(chosen)} FROM {name}) TO '{target}' (FORMAT parquet)")
    return list(columns)


def destinations(settings: Settings) -> Iterator[Finding]:
    """Findings about the CRM, the recommendation cache and the outbox, against the models. Run after the last sync."""
    with warehouse.connect(settings, read_only=True) as connection:
        yield from _crm(connection, settings)
        yield from _recommendations(connection, settings)
    yield from _outbox(settings)


def _crm(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Iterator[Finding]:
    model = connection.execute(
        "SELECT user_id, segment, lifetime_revenue::DECIMAL(18, 2), conversions FROM activation.act_crm_user_segments"
    ).fetchall()
    with psycopg.connect(services.postgres_dsn(settings, "crm")) as crm:
        made = crm.execute("SELECT to_regclass('crm.user_segments')").fetchone() != (None,)
        question = "SELECT user_id, segment, lifetime_revenue, conversions FROM crm.user_segments WHERE is_active"
        there = crm.execute(question).fetchall() if made else []  # nothing was ever sent
    yield from _differ("the CRM", Counter(model), Counter(there))


def _recommendations(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Iterator[Finding]:
    rows = connection.execute("SELECT user_id, destination, score::DECIMAL(18, 6) FROM activation.act_recommendations")
    model = Counter((user, place, f"{score:.6f}") for user, place, score in rows.fetchall())
    there: Counter[tuple[object, ...]] = Counter()
    with streams.connect(settings) as client:
        for name in client.scan_iter(match=f"{RECOMMENDED}*", _type="hash"):
            user = name.decode().removeprefix(RECOMMENDED)
            user = EVERYBODY if user == "popular" else user
            for place, score in client.hgetall(name).items():
                there[user, place.decode(), f"{float(score):.6f}"] += 1
    yield from _differ("the recommendation cache", model, there)


def _outbox(settings: Settings) -> Iterator[Finding]:
    """A key is in the outbox or settled, once."""
    with streams.connect(settings) as client:
        waiting = [fields[b"data"] for _, fields in client.xrange(OUTBOX)]  # type: ignore[union-attr]
    with duckdb.connect(":memory:") as connection:
        keys = [
            connection.execute("SELECT ? ->> 'idempotency_key'", [data.decode()]).fetchall()[0][0] for data in waiting
        ]
    again = [key for key, count in Counter(keys).items() if count > 1]
    if again:
        yield Finding("double message", f"{len(again)} keys stand twice in the outbox, for example {again[0]}")


def _differ(place: str, model: Counter[tuple[object, ...]], there: Counter[tuple[object, ...]]) -> Iterator[Finding]:
    missing, unexpected = model - there, there - model
    if missing or unexpected:
        example = next(iter(missing or unexpected))
        yield Finding(
            "destination differs from its model",
            f"{place}: {missing.total()} rows missing, {unexpected.total()} not in the model, for example {example}",
        )


def post(taken: Sequence[Mail], cap: timedelta = timedelta(hours=24)) -> Iterator[Finding]:
    """Findings about mail: each message was taken once, and no one got two within a day."""
    again = [name for name, count in Counter(mail.message_id for mail in taken).items() if count > 1]
    if again:
        yield Finding("double mail", f"{len(again)} messages were sent twice, for example {again[0]}")
    by_person: dict[str, list[datetime]] = defaultdict(list)
    for mail in taken:
        by_person[mail.to].append(mail.at)
    for person, moments in sorted(by_person.items()):
        ordered = sorted(moments)
        if any(later - earlier < cap for earlier, later in pairwise(ordered)):
            yield Finding("double mail", f"{person} got {len(ordered)} messages, two of them within {cap}")
