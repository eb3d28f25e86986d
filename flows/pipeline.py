"""Pipeline flow, the whole way once: generated (when asked), ingested, modelled, validated, activated, with a summary
of every stage.

Runs on demand (`searchflow demo`), and every day in the early morning (UTC) as the run of record.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from prefect import flow, get_run_logger

from flows import activation, generation, ingestion, transformation, validation
from flows.support import table_artifact
from searchflow.errors import GateFailed


@flow(name="pipeline")
def run_pipeline(
    generate: bool = False,
    days: int | None = None,
    events: int | None = None,
    seed: int | None = None,
    until: str | None = None,
) -> dict[str, Any]:
    """Run every stage in order, each as a flow of its own.

    A table whose suite fails stops only the syncs that depend on it; the others, and the models, go on.

    Returns: one entry for each stage with its counts, and `seconds` by stage.

    Raises:
        GateFailed: at the end, when a gate was closed.
    """
    seconds: dict[str, float] = {}
    results: dict[str, Any] = {"seconds": seconds}

    def run(name: str, step: Callable[[], Any]) -> Any:
        began = time.monotonic()
        try:
            results[name] = step()
        finally:
            seconds[name] = round(time.monotonic() - began, 2)
        return results[name]

    if generate:
        run("generate", lambda: generation.generate(days=days, events=events, seed=seed, until=until))
    run("ingest", ingestion.ingest)
    run("validate raw", lambda: validation.check("raw", report=False))
    run("transform", transformation.transform)
    run("validate marts", lambda: validation.check("marts", report=False))
    run("validate activation", lambda: validation.check("activation", report=True))
    run("activate", activation.activate)
    get_run_logger().info("seconds by stage: %s", seconds)
    closed = sorted(
        suite
        for stage in ("validate raw", "validate marts", "validate activation")
        for suite, gate in results[stage].items()
        if gate["outcome"] in ("fail", "error")
    )
    table_artifact("pipeline-seconds", [{"stage": name, "seconds": value} for name, value in seconds.items()], "Stages")
    if closed:
        raise GateFailed(
            f"The quality gate is closed by {', '.join(closed)}. `searchflow validate {closed[0]}` shows what failed."
        )
    return results
