"""People hear of it before they ask: health, lag, freshness and the accounting identity, every five minutes.

A state that changes (well to unwell or back) is a Prefect event, once each; an automation can turn it into a message.
"""

from __future__ import annotations

import json
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from flows.support import table_artifact, utc_now
from searchflow.ops import status as health
from searchflow.settings import Settings, load_settings


@task(cache_policy=NO_CACHE)
def look() -> health.Status:
    """The state of everything."""
    return health.collect(load_settings(), now=utc_now())


@task(cache_policy=NO_CACHE)
def tell(state: health.Status) -> list[str]:
    """What is wrong, in sentences; emits `searchflow.breach` or `searchflow.recovery` when that changed."""
    settings, log = load_settings(), get_run_logger()
    problems = [f"{name}: {said}" for name, said in state.services.items() if said not in ("up", "not running")]
    if state.accounting is not None and not state.accounting.holds:
        problems.append(state.accounting.sentence())
    problems += [f"{run['stage']} failed: {run['error']}" for run in state.last_runs if run["status"] == "failed"]
    for problem in problems:
        log.warning("%s", problem)
    if _changed(settings, problems):
        name = "searchflow.breach" if problems else "searchflow.recovery"
        emit_event(name, resource={"prefect.resource.id": "searchflow.platform"}, payload={"problems": problems})
    return problems


def _changed(settings: Settings, problems: list[str]) -> bool:
    """True when the platform went from well to unwell or back since the last look."""
    path = settings.run_dir / "monitoring.state"
    before = path.read_text() if path.exists() else json.dumps(False)
    path.write_text(json.dumps(bool(problems)))
    return bool(json.loads(before)) != bool(problems)


@flow(name="monitoring")
def monitor() -> dict[str, Any]:
    """Look, tell, and leave two tables."""
    state = look()
    problems = tell(state)
    table_artifact("freshness", state.freshness, "When each model was last brought up to date")
    table_artifact(
        "stream-lag", [{"stream": name, **lag} for name, lag in state.lag.items()], "Entries not ingested yet"
    )
    return {"healthy": state.healthy and not problems, "problems": problems}
