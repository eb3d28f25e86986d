"""Syncs: nothing to do over a million rows, and delivery to PostgreSQL and Redis beside bare writes of the same rows.

Delivery is what a first run sends, all of it recorded in the ledger at the end. The limits
write the same rows in batches of the same size and record nothing: COPY into a temporary table and one upsert, from CSV
that is ready in memory; pipelined HSET of mappings that are ready in memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from activations import Sync, load_sync, planner, quarantine, reconcile, run_sync
from activations.base import HASH, KEY
from activations.columns import as_csv
from activations.ledger import Ledger
from activations.retry import Retries
from activations.run import Run
from activations.shape import shaped
from benchmarks.report import Figure, Options, Report
from benchmarks.support import machine, platform
from searchflow import services, streams, warehouse
from searchflow.settings import Settings

USERS, RECOMMENDED, PLACES = 1_000_000, 200_000, 10
CRM, RECO = "crm_user_segments", "recommendations"
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SECONDS, RATIO = 5.0, 0.5
MODELS = {
    CRM: """
        SELECT 'user-' || lpad(i::VARCHAR, 8, '0') AS user_id,
            ['high_value', 'new_user', 'at_risk', 'abandoned_search', 'regular'][1 + i % 5] AS segment,
            (i % 100000 / 100)::DECIMAL(18, 2) AS lifetime_revenue, i % 7 AS conversions,
            TIMESTAMP '2026-03-01' + to_seconds(i) AS last_seen_at, ['CA', 'FR', 'US'][1 + i % 3] AS country
        FROM range($rows) AS numbers (i)""",
    RECO: f"""
        SELECT 'user-' || lpad((i // {PLACES})::VARCHAR, 8, '0') AS user_id, 'Destination ' || (i % 97) AS destination,
            1.0 / (1 + i % {PLACES}) AS score, (1 + i % {PLACES})::INTEGER AS rank
        FROM range($rows) AS numbers (i)""",
}


def run(options: Options) -> Report:
    """Fill the models, deliver, deliver bare, and run once more with nothing to do."""
    users, recommended = options.scaled(USERS, least=1000), options.scaled(RECOMMENDED, least=1000)
    with platform(options) as settings:
        options.progress(f"making {users:,} users and {recommended:,} lists")
        _fill(settings, CRM, users)
        _fill(settings, RECO, recommended * PLACES)
        options.progress("PostgreSQL: delivery")
        to_postgres = _deliver(settings, CRM)
        options.progress("PostgreSQL: bare COPY and upsert")
        bare_postgres = _bare_postgres(settings)
        options.progress("Redis: delivery")
        to_redis = _deliver(settings, RECO)
        options.progress("Redis: bare HSET")
        bare_redis = _bare_redis(settings)
        options.progress("nothing to do")
        idle = run_sync(settings, CRM, now=NOW + timedelta(hours=1), gate=_open)
        written = _writes(settings)
        options.progress("reconciliation")
        agreed = reconcile(settings, CRM, now=NOW + timedelta(hours=2))
        _edit(settings)
        drifted = reconcile(settings, CRM, now=NOW + timedelta(hours=3))
    assert (idle.status, idle.unchanged) == ("unchanged", users)
    assert (agreed.drifted, agreed.read, drifted.foreign_edits) == (0, 0, 1)
    figures = [
        Figure("nothing to do", idle.seconds, "s", target=f"under {SECONDS:.0f} s for {USERS:,} rows",
               met=idle.seconds < SECONDS * options.size if options.judges else None),
        _rate("PostgreSQL, delivered and recorded", users, to_postgres, bare_postgres, "bare COPY and upsert", options),
        _rate("Redis, delivered and recorded", recommended, to_redis, bare_redis, "bare pipelined HSET", options),
        Figure("reconciled by digests, no drift", agreed.seconds, "s"),
        Figure("reconciled by digests, one row edited", drifted.seconds, "s"),
    ]  # fmt: skip
    facts = machine() | {
        "users": users, "lists": recommended, "places_a_list": PLACES, "ledger_batches": written,
        "rows_read_of_the_edited": drifted.read,
    }  # fmt: skip
    return Report("activate", (__doc__ or "").partition("\n")[0], figures, facts)


def _rate(name: str, rows: int, ours: float, bare: float, limit_name: str, options: Options) -> Figure:
    met = bare / ours >= RATIO if options.judges else None
    return Figure(name, round(rows / ours), "rows/s", round(rows / bare), limit_name, f"ratio {RATIO}", met)


def _open(suite: str) -> Any:
    from activations import GateVerdict

    return GateVerdict(suite, "pass")


def _fill(settings: Settings, name: str, rows: int) -> None:
    model = load_sync(name).model
    with warehouse.connect(settings) as connection:
        connection.execute("SET enable_progress_bar = false; CREATE SCHEMA IF NOT EXISTS activation")
        connection.execute(f"CREATE TABLE {model} AS {MODELS[name]}", {"rows": rows})


def _deliver(settings: Settings, name: str) -> float:
    """Return the seconds of a first run's delivery; gate, plan and the run's own row are not in it."""
    with Ledger(settings) as ledger, closing(warehouse.connect(settings)) as connection:
        ledger.lock()
        ledger.prepare()
        run = Run(settings, load_sync(name), connection, ledger, Retries(), NOW, "run")
        with run.recorded():
            run.prepare(_open, retry_rejected=False)
            began = time.perf_counter()
            run.send(None)
            seconds = time.perf_counter() - began
    assert run.status() == "done"
    return seconds


def _rows(settings: Settings, sync: Sync) -> Iterator[Any]:
    """Yield the rows of each batch, in the engine's order."""
    with closing(warehouse.connect(settings, read_only=True)) as connection:
        quarantine.leave_out(connection, sync)
        connection.execute(f"CREATE TEMP TABLE differences AS SELECT {KEY}, {HASH}, 'added' AS __kind FROM "
                           f"({shaped(sync, sync.model)})")  # fmt: skip
        planner.stage(connection, sync, sync.model)
        for batch in planner.batches(connection, sync, NOW, 0):
            yield batch.table


def _bare_postgres(settings: Settings) -> float:
    sync = load_sync(CRM)
    names = [field.name for field in sync.fields]
    ready = [as_csv(table.select(names)) for table in _rows(settings, sync)]
    columns = ", ".join(names)
    updates = ", ".join(f"{name} = excluded.{name}" for name in names if name != sync.key)
    with psycopg.connect(services.postgres_dsn(settings, "crm"), options="-c TimeZone=UTC") as connection:
        connection.execute("CREATE TABLE crm.bare (LIKE crm.user_segments INCLUDING ALL)")
        connection.commit()
        began = time.perf_counter()
        for content in ready:
            with connection.transaction(), connection.cursor() as cursor:
                cursor.execute(
                    f"CREATE TEMP TABLE staged ON COMMIT DROP AS SELECT {columns} FROM crm.bare WITH NO DATA"
                )
                with cursor.copy(f"COPY staged ({columns}) FROM STDIN (FORMAT csv)") as copy:
                    copy.write(content)
                cursor.execute(f"INSERT INTO crm.bare ({columns}) SELECT {columns} FROM staged "
                               f"ON CONFLICT (user_id) DO UPDATE SET {updates}")  # fmt: skip
        return time.perf_counter() - began


def _bare_redis(settings: Settings) -> float:
    sync = load_sync(RECO)
    ready = []
    for table in _rows(settings, sync):
        lists = zip(table[KEY].to_pylist(), table["__names"].to_pylist(), table["__values"].to_pylist(), strict=True)
        ready.append([(f"bare:{key}", dict(zip(names, values, strict=True))) for key, names, values in lists])
    with streams.connect(settings) as client:
        began = time.perf_counter()
        for batch in ready:
            with client.pipeline(transaction=False) as pipeline:
                for name, mapping in batch:
                    pipeline.hset(name, mapping=mapping)
                pipeline.execute()
        return time.perf_counter() - began


def _edit(settings: Settings) -> None:
    with psycopg.connect(services.postgres_dsn(settings, "crm")) as connection:
        connection.execute("UPDATE crm.user_segments SET segment = 'vip' WHERE user_id = 'user-00000007'")


def _writes(settings: Settings) -> int:
    with psycopg.connect(services.postgres_dsn(settings, "ledger")) as connection:
        row = connection.execute("SELECT count(*) FROM activation.batches").fetchone()
    return int(row[0]) if row else 0
