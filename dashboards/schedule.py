"""Schedule, as the Prefect server knows it: when the next refresh is due, and how the newest flow runs went.

Asked in the background and kept for a short while: a page never waits for another server. Where none answers, nothing
is scheduled, and the page says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from searchflow.services import prefect
from searchflow.settings import Settings

KEPT_SECONDS = 20.0
PATIENCE = 2.0
REFRESH = "transform"
"""The deployment that rebuilds the marts."""
SHOWN_RUNS = 40


@dataclass
class KnownRuns:
    """The server's last answer, and when it was asked."""

    asked_at: float = 0.0
    answers: bool = False
    next_refresh: datetime | None = None
    runs: list[dict[str, Any]] = field(default_factory=list)


_known: dict[str, KnownRuns] = {}
_asking = threading.Lock()


def known(settings: Settings, *, wait: bool = False, clock: Callable[[], float] = time.monotonic) -> KnownRuns:
    """Return the newest answer; an old one is replaced in the background, or at once when `wait`."""
    found = _known.setdefault(settings.prefect_api_url, KnownRuns(asked_at=clock() - 2 * KEPT_SECONDS))
    if clock() - found.asked_at < KEPT_SECONDS:
        return found
    if wait:
        _ask(settings, clock)
        return _known[settings.prefect_api_url]
    threading.Thread(target=_ask, args=(settings, clock), daemon=True).start()
    return found


def _ask(settings: Settings, clock: Callable[[], float]) -> None:
    api = settings.prefect_api_url
    if not _asking.acquire(blocking=False):
        return
    try:
        login = prefect.login(settings)
        with httpx.Client(base_url=api, auth=login, timeout=PATIENCE, trust_env=False) as client:
            _known[api] = KnownRuns(clock(), True, _next_refresh(client), _runs(client))
    except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError):
        _known[api] = KnownRuns(clock())
    finally:
        _asking.release()


def _next_refresh(client: httpx.Client) -> datetime | None:
    found = _filtered(
        client,
        "flow_runs",
        {
            "sort": "EXPECTED_START_TIME_ASC",
            "limit": 1,
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
            "deployments": {"name": {"any_": [REFRESH]}},
        },
    )
    return _moment(found[0]["expected_start_time"]) if found else None


def _runs(client: httpx.Client) -> list[dict[str, Any]]:
    """Return the newest runs that have begun, the newest first."""
    runs = _filtered(
        client,
        "flow_runs",
        {
            "sort": "START_TIME_DESC",
            "limit": SHOWN_RUNS,
            "flow_runs": {"start_time": {"is_null_": False}, "parent_task_run_id": {"is_null_": True}},
        },
    )
    flows = {flow["id"]: flow["name"] for flow in _filtered(client, "flows", {"limit": 200})}
    return [
        {
            "flow": flows.get(run["flow_id"], ""),
            "state": run["state_name"] or "",
            "started_at": _moment(run["start_time"]),
            "seconds": run["total_run_time"],
            "late_by": max(0.0, run.get("estimated_start_time_delta") or 0.0),
            "run": run["name"],
        }
        for run in runs
    ]


def _filtered(client: httpx.Client, what: str, condition: dict[str, Any]) -> list[dict[str, Any]]:
    answer = client.post(f"/{what}/filter", json=condition)
    answer.raise_for_status()
    return list(answer.json())


def _moment(text: str) -> datetime:
    """Return a moment in UTC without a zone, like every moment of the warehouse."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).replace(tzinfo=None)
