"""Notices that tell people once: a level that breaks or recovers makes one notice, whichever process is killed in
between.

A notice is written in the transaction that changes the level's state, so neither exists without the other. It is
delivered at least once, with the same id each time: Prefect keeps one event for each id, and a receiver of the webhook
finds the id in `Idempotency-Key`. What cannot be delivered now is tried again by later runs, for a day; nothing waits
for it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from searchflow.backoff import Backoff
from searchflow.ops import audit_log
from searchflow.ops.levels import webhook
from searchflow.ops.levels.evaluation import Evaluated
from searchflow.services import locks, postgres
from searchflow.settings import Settings

NAMESPACE = uuid.UUID("0b3a7a9e-54f5-5d57-8c0b-6d6f6e69746f")
GIVE_UP = timedelta(days=1)
LATER = Backoff(attempts=10, first=60.0, doubling=True, longest=3600.0)
"""Waits between runs that found the receiver away: from a minute up to an hour."""
KEEP = timedelta(days=90)

Emit = Callable[[str, uuid.UUID, dict[str, Any]], None]
"""A function that is told (`searchflow.breach` or `searchflow.recovery`, id, payload)."""


@dataclass(frozen=True)
class Delivered:
    """What a run of `deliver` did."""

    events: int = 0
    webhooks: int = 0
    waiting: int = 0
    problem: str | None = None


def note_changes(settings: Settings, evaluated: Sequence[Evaluated], *, now: datetime) -> list[dict[str, Any]]:
    """Remember the states, and write a notice for each level that changed. Return the notices' payloads.

    A level whose value is unknown keeps its last state. Of two runs at once, the second sees what the first has noted.
    """
    known = [each for each in evaluated if each.state != "unknown"]
    with psycopg.connect(postgres.conninfo(settings, "ledger")) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s, 1)", [locks.NOTICES])
        before = {
            (level, target): (breached, since)
            for level, target, breached, since in connection.execute(
                "SELECT level, target, breached, since FROM monitoring.level_states"
            ).fetchall()
        }
        changed = [each for each in known if before.get(_key(each), (False, now))[0] != (each.state == "broken")]
        fresh = [each for each in known if _key(each) not in before and each not in changed]
        upsert = """
            INSERT INTO monitoring.level_states (level, target, breached, since) VALUES (%s, %s, %s, %s)
            ON CONFLICT (level, target) DO UPDATE SET breached = excluded.breached, since = excluded.since"""
        states = [(*_key(each), each.state == "broken", now) for each in (*changed, *fresh)]
        connection.cursor().executemany(upsert, states)
        payloads = [
            _payload(kind, list(group), before, now)
            for (_, kind), group in groupby(
                sorted(changed, key=lambda each: (each.level, _kind(each))), key=lambda each: (each.level, _kind(each))
            )
        ]
        connection.cursor().executemany(
            "INSERT INTO monitoring.notices (notice_id, created_at, kind, payload, webhook, next_attempt_at) "
            "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [
                (each["id"], now, each["kind"], Jsonb(each), "waiting" if settings.webhook_url else "none", now)
                for each in payloads
            ],
        )
        connection.execute(
            "DELETE FROM monitoring.notices WHERE created_at < %s AND event_sent AND webhook <> 'waiting'", [now - KEEP]
        )
    return payloads


def _key(each: Evaluated) -> tuple[str, str]:
    return each.level, each.target


def _kind(each: Evaluated) -> str:
    return "breach" if each.state == "broken" else "recovery"


def _payload(
    kind: str, group: list[Evaluated], before: dict[tuple[str, str], tuple[bool, datetime]], now: datetime
) -> dict[str, Any]:
    """Return one level's change as people and programs read it: names, numbers and our own sentences, nothing of an
    event.
    """
    level = group[0]
    targets = [
        {
            "target": each.target,
            "value": each.value,
            "shown": each.shown,
            "broken_since": (before[_key(each)][1] if kind == "recovery" else now).isoformat(),
        }
        for each in group
    ]
    named = ", ".join(f"{each.target} {each.shown}" for each in group[:5])
    more = f" and {len(group) - 5} more" if len(group) > 5 else ""
    word = "BROKEN" if kind == "breach" else "kept again"
    identity = json.dumps([level.level, kind, now.isoformat(), [each["target"] for each in targets]])
    return {
        "id": str(uuid.uuid5(NAMESPACE, identity)),
        "kind": kind,
        "level": level.level,
        "sentence": level.sentence,
        "measure": level.measure,
        "bound": level.bound,
        "limit": level.limit,
        "unit": level.unit,
        "at": now.isoformat(),
        "targets": targets,
        "text": f"SearchFlow, {level.level} {word}: {level.sentence} Now: {named}{more} ({level.wanted}).",
    }


def deliver(settings: Settings, *, now: datetime, emit: Emit) -> Delivered:
    """Send what was noted and not sent: events first, then webhooks, the oldest first. No error of a receiver is
    raised.

    One run delivers at a time: another one leaves all notices to the first. The first webhook that fails ends the run's
    attempts.
    """
    with psycopg.connect(postgres.conninfo(settings, "ledger"), autocommit=True) as connection:
        mine = connection.execute("SELECT pg_try_advisory_lock(%s, 2)", [locks.NOTICES]).fetchone()
        if not mine or not mine[0]:
            return Delivered()
        events = _emit_all(connection, emit)
        sent, problem = _post_all(connection, settings, now)
        waiting = connection.execute("SELECT count(*) FROM monitoring.notices WHERE webhook = 'waiting'").fetchone()
        return Delivered(events, sent, int(waiting[0]) if waiting else 0, problem)


def _emit_all(connection: psycopg.Connection, emit: Emit) -> int:
    due = connection.execute(
        "SELECT notice_id, kind, payload FROM monitoring.notices WHERE NOT event_sent ORDER BY created_at, notice_id"
    ).fetchall()
    for notice, kind, payload in due:
        emit(f"searchflow.{kind}", notice, payload)
        connection.execute("UPDATE monitoring.notices SET event_sent = TRUE WHERE notice_id = %s", [notice])
    return len(due)


def _post_all(connection: psycopg.Connection, settings: Settings, now: datetime) -> tuple[int, str | None]:
    if settings.webhook_url is None:
        return 0, None
    connection.execute(
        "UPDATE monitoring.notices SET webhook = 'given up' WHERE webhook = 'waiting' AND created_at < %s",
        [now - GIVE_UP],
    )
    due = connection.execute(
        "SELECT notice_id, payload, attempts, next_attempt_at FROM monitoring.notices WHERE webhook = 'waiting' "
        "ORDER BY created_at, notice_id"
    ).fetchall()
    for number, (notice, payload, attempts, next_attempt_at) in enumerate(due):
        if next_attempt_at > now:  # in order: a recovery does not overtake its breach
            return number, None
        audit_log.append(
            settings, "send", "webhook", rows=1, detail=f"{payload['kind']} of {payload['level']}, {notice}"
        )
        problem = webhook.post(settings, payload, now=now)
        if problem is not None:
            pause = timedelta(seconds=LATER.wait(attempts + 1))
            connection.execute(
                "UPDATE monitoring.notices SET attempts = attempts + 1, next_attempt_at = %s, problem = %s "
                "WHERE notice_id = %s",
                [now + pause, problem, notice],
            )
            return number, problem
        connection.execute(
            "UPDATE monitoring.notices SET webhook = 'sent', attempts = attempts + 1 WHERE notice_id = %s", [notice]
        )
    return len(due), None
