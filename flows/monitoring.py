"""Monitoring flow, so that people hear of trouble before they ask: health, lag, freshness and service levels, every
five minutes.

Each breach of a level in `service_levels.yaml` and each recovery is told once: as a Prefect event (`searchflow.breach`,
`searchflow.recovery`), from which an automation can make a message, and to the webhook of SEARCHFLOW_WEBHOOK_URL.
"""

from __future__ import annotations

import uuid
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from flows.support import stage, table_artifact, utc_now
from searchflow import status as health
from searchflow import warehouse
from searchflow.ops import levels
from searchflow.settings import load_settings


@task(cache_policy=NO_CACHE)
def look() -> health.Status:
    """Return the state of the whole platform."""
    return health.collect(load_settings(), now=utc_now())


@task(cache_policy=NO_CACHE)
def note(state: health.Status) -> list[dict[str, Any]]:
    """Keep the states, and write a notice of each level that broke or recovered since the last look."""
    settings, now = load_settings(), utc_now()
    changes = levels.note_changes(settings, state.levels, now=now)
    with warehouse.connect(settings) as connection:
        levels.record_states(connection, state.levels, now=now)
    for change in changes:
        get_run_logger().warning("%s", change["text"])
    return changes


@task(cache_policy=NO_CACHE)
def tell() -> dict[str, Any]:
    """Send what was noted: Prefect events, then the webhook. What cannot be sent now waits for the next run."""
    settings, log = load_settings(), get_run_logger()
    done = levels.deliver(settings, now=utc_now(), emit=_emit)
    if done.problem:
        log.warning("%s notices wait for the webhook: %s", done.waiting, done.problem)
    return {"events": done.events, "webhooks": done.webhooks, "waiting": done.waiting}


def _emit(name: str, notice: uuid.UUID, payload: dict[str, Any]) -> None:
    """Emit one event for each id: Prefect keeps the first, however often it is told."""
    resource = {
        "prefect.resource.id": f"searchflow.level.{payload['level']}",
        "prefect.resource.name": payload["level"],
    }
    emit_event(name, resource=resource, payload=payload, id=notice)


@flow(name="monitoring")
def monitor() -> dict[str, Any]:
    """Look, note, tell, and leave tables."""
    with stage(load_settings(), "monitoring") as noted:
        state = look()
        changes = note(state)
        told = tell()
        broken = [each for each in state.levels if each.state == "broken"]
        noted.rows_in, noted.rejected = len(state.levels), len(broken)
        rows = [
            {"level": each.level, "of": each.target, "state": each.state, "is": each.shown, "should be": each.wanted}
            for each in sorted(state.levels, key=lambda each: each.state != "broken")
        ]
        table_artifact("service-levels", rows, f"{len(broken)} broken")
        table_artifact("freshness", state.freshness, "When each model was last brought up to date")
        table_artifact(
            "stream-lag", [{"stream": name, **lag} for name, lag in state.lag.items()], "Entries not ingested yet"
        )
    return {
        "healthy": state.healthy and not broken,
        "problems": [f"{each.sentence} {each.target}: {each.shown} ({each.wanted})" for each in broken],
        "changes": [change["text"] for change in changes],
        "told": told,
    }
