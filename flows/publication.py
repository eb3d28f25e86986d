"""Publication flow: the marts stand in the PostgreSQL schema that a BI tool reads, as of the last transformation that
its gates passed.

Runs every half hour once SEARCHFLOW_PUBLISH_URL is set; until then it only says so, and `searchflow publish` does it by hand.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from flows.support import is_retryable, models_at_rest, stage, table_artifact, utc_now
from searchflow import publishing
from searchflow.settings import load_settings


@task(
    retries=2,
    retry_delay_seconds=exponential_backoff(backoff_factor=5),
    retry_condition_fn=is_retryable,
    cache_policy=NO_CACHE,
)
def write(names: list[str]) -> list[dict[str, Any]]:
    """Write what changed, each table at once and behind its gate."""
    return [each.as_dict() for each in publishing.publish(load_settings(), names, clock=utc_now)]


@flow(name="publication")
def publish(marts: list[str] | None = None) -> dict[str, Any]:
    """Publish marts by name; default: all. A table whose gate is closed is held back and stays as it was."""
    settings = load_settings()
    if settings.publish_url is None:
        get_run_logger().info(
            "SEARCHFLOW_PUBLISH_URL is not set: `searchflow publish` writes to the platform's own server"
        )
        return {"status": "not configured"}
    with models_at_rest(settings), stage(settings, "publication") as noted:
        tables = write(marts or [])
        noted.rows_in, noted.rows_out = (sum(each[name] for each in tables) for name in ("rows", "rows_written"))
        held = [each["table"] for each in tables if each["outcome"] == "held back"]
        noted.rejected = len(held)
        table_artifact("published", tables, f"{len(held)} held back" if held else "Every mart is as the lake has it")
    return {"status": "held back" if held else "done", "tables": {each["table"]: each["outcome"] for each in tables}}
