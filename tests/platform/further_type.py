"""What a copy of the repository knows of an event type that is declared in it, as JSON: run with the copy as working folder.

python -m tests.platform.further_type registries cancellation
python -m tests.platform.further_type events cancellation
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Any

from searchflow.event_types import EVENT_TYPES, EventType
from tests import foreign

BOOKED = foreign.NOW - timedelta(days=40)
"""Longer ago than the funnel's window."""


def registries(further: EventType) -> dict[str, bool]:
    """Registry -> whether it knows the type."""
    from activations.explanation import events as story
    from activations.mail import facts
    from dashboards.operations import streams as drawn
    from expectations import load_suites
    from expectations.marts import mart_campaign_attribution
    from expectations.ops import ingestion_batches
    from flows import ingestion as flow
    from generators import recorded
    from searchflow import events, streams, tables
    from searchflow.erasure import lake
    from searchflow.ingestion import accounting, repeats
    from searchflow.ingestion.dead_letters import remedies
    from searchflow.ops import descriptions, record
    from searchflow.services import locks
    from searchflow.settings import load_settings
    from searchflow.transformation import changes, marks, restatements

    table, fields = further.raw_table, set(further.fields)
    refused = events.decode_one(b'{"event_type": "no such type"}')
    assert isinstance(refused, events.Rejection)
    runner = flow.ingest.task_runner
    [suite] = load_suites(table)
    return {
        "struct": fields <= set(events.EVENT_CLASSES[further.name].__struct_fields__),
        "stream": streams.names(load_settings())[further.name] == [f"searchflow:events:{further.name}"],
        "raw table": further.table in tables.RAW_TABLES,
        "partitioning": further.table in tables.PARTITIONED,
        "position": f"ops.position_{further.name}" in record.TABLES,
        "position's description": f"ops.position_{further.name}" in descriptions.DESCRIPTIONS,
        "lock turn": len({locks.turn(each) for each in EVENT_TYPES}) == len(EVENT_TYPES),
        "Prefect task": flow.STEPS[further.name].name == f"ingest_{further.plural}",
        "a thread for each task": getattr(runner, "_max_workers", 0) >= len(EVENT_TYPES),
        "dead letter's reason": further.name in refused.reason,
        "dead letter's remedy": further.name in remedies.remedy("unknown_event_type", ""),
        "repeated keys": fields <= repeats.named_keys(further.name),
        "accounting": table in accounting.BOOKS,
        "changed days": table in changes.fresh_events("TRUE")
        and table in changes.NEIGHBOUR_DAYS + changes.RENAMED_DAYS,
        "restated events": f"late_{further.plural}" in restatements.NOTE,
        "restatements": f"late_{further.plural} BIGINT" in record.TABLES["ops.kpi_versions"],
        "erasure": table in lake.EVENTS,
        "masks of documents": marks.DOCUMENTS[table] == ("payload",),
        "masks of fields": marks.DECLARED[further.staging_view] == further.personal_fields,
        "dashboards' kinds": drawn.KINDS[further.name][0] == further.title,
        "suite": len(suite.checks) > 10,
        "books of ingestion": table in ingestion_batches.RAW_ROWS,
        "journeys": table in mart_campaign_attribution.EVENTS,
        "a user's story": table in story.EVENTS,
        "mail's sessions": table in facts.FACTS,
        "the simulator's replay": {each.field for each in further.references} <= set(recorded.REFERRED),
    }


def arrived(further: EventType) -> dict[str, Any]:
    """Send a visit of 40 days ago and one event of the type, and look at what became of them."""
    import polars as pl

    from generators.publishers import RedisPublisher
    from generators.simulation import Batch
    from searchflow import erasure, lifecycle, streams, warehouse
    from searchflow.ingestion import accounting, worker
    from searchflow.privacy import masking
    from searchflow.settings import load_settings
    from searchflow.transformation import changes

    settings = load_settings()
    lifecycle.start(settings)
    sent = {name: [foreign.line(**document)] for name, document in _visit(further).items()}
    frames = {name: pl.DataFrame({"arrived_at": [foreign.NOW], "line": lines}) for name, lines in sent.items()}
    with streams.connect(settings) as client:
        published = RedisPublisher(client).publish(Batch(frames, foreign.NOW))
    for name in EVENT_TYPES:
        worker.ingest_stream(settings, name, clock=lambda: foreign.NOW)
    with warehouse.connect(settings) as lake:
        [fresh] = [each for each in changes.new_batches(lake, "prod", _naive()) if each.shard == further.name]
        days = changes.changed_days(lake, [fresh], gap_minutes=30, window_days=7, identity=None)
        found = {
            "published": published,
            "stored": lake.execute(f"SELECT user_id, session_id FROM {further.raw_table}").fetchall(),
            "letters": lake.execute("SELECT reason FROM raw.dead_letters").fetchall(),
            "accounting": accounting.accounting(lake).holds,
            "lateness": lake.execute("SELECT event_type FROM ops.arrivals ORDER BY 1").fetchall(),
            "declared": lake.execute("SELECT event_type FROM ops.event_types ORDER BY 1").fetchall(),
            "days of searches": sorted(str(day) for day in days.searches),
        }
    masking.make_views(settings)
    with warehouse.connect(settings) as lake:
        view = f"masked.{further.raw_table.replace('.', '_')}"
        found["masked"] = lake.execute(f"SELECT payload FROM {view}").fetchall()
    erasure.forget(settings, "maya", clock=worker.utc_now)
    with warehouse.connect(settings) as lake:
        found["left after an erasure"] = lake.execute(f"SELECT count(*) FROM {further.raw_table}").fetchall()
    return found


def _naive() -> Any:
    return foreign.NOW.replace(tzinfo=None)


def _visit(further: EventType) -> dict[str, dict[str, Any]]:
    """A booking, and an event of the further type that refers to it: of a user, in no session."""
    then = BOOKED.isoformat()
    of_type = {
        "event_id": "44444444-4444-4444-8444-000000000001",
        "event_type": further.name,
        "timestamp": foreign.NOW.isoformat(),
        "user_id": "maya",
        "reason": "an illness",
        **{each.field: foreign.conversion()["event_id"] for each in further.references},
    }
    return {
        "search": foreign.search(timestamp=then),
        "click": foreign.click(timestamp=then),
        "conversion": foreign.conversion(timestamp=then),
        further.name: of_type,
    }


if __name__ == "__main__":
    wanted, event_type = sys.argv[1:]
    answer = {"registries": registries, "events": arrived}[wanted](EVENT_TYPES[event_type])
    sys.stdout.write(json.dumps(answer))
