"""Delivery flow: e-mail of the outbox that may go has gone, each message once.

Runs every five minutes once SEARCHFLOW_SMTP_URL is set; until then it only says so.
"""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from activations import mail
from flows.support import run_id, stage, stopped_by_signals, table_artifact, utc_now
from searchflow.backoff import Backoff
from searchflow.errors import SearchFlowError
from searchflow.passing import is_passing
from searchflow.progress import progress
from searchflow.settings import load_settings

PAUSE = 5.0
"""Seconds between two looks while following."""
AWAY = Backoff(attempts=10, first=10.0, doubling=True, longest=300.0)
"""The waits while a server is away, longer and longer."""


@task(cache_policy=NO_CACHE)  # no retries: the ledger says what is due, and the next run goes on there
def send_due(limit: int | None) -> dict[str, Any]:
    """Take what is new in the outbox and send what is due."""
    return _send(None, limit)


def _send(stop: threading.Event | None, limit: int | None) -> dict[str, Any]:
    report = mail.deliver(load_settings(), clock=utc_now, run_id=run_id(), stop=stop, limit=limit)
    if report.did_something:
        get_run_logger().info("%s", report)
    if report.held:  # once, when it happens; `searchflow email status` lists all
        resource = {"prefect.resource.id": "searchflow.email"}
        emit_event("searchflow.email.in_doubt", resource=resource, payload={"messages": report.held})
    return asdict(report)


@flow(name="delivery")
def deliver(follow_seconds: float = 0.0, limit: int | None = None) -> dict[str, Any]:
    """Deliver e-mail: once, or for `follow_seconds`. Return counts of messages.

    Raises:
        ConfigurationError: the mail server is set, and something else is missing or wrong.
        Unreachable: the mail server is away (only without `follow_seconds`).
    """
    settings = load_settings()
    if settings.smtp_url is None:
        get_run_logger().info("SEARCHFLOW_SMTP_URL is not set: messages stay in the outbox")
        return {"status": "not configured"}
    with stage(settings, "delivery") as noted:
        total = _follow(follow_seconds) if follow_seconds else send_due(limit)
        noted.rows_in, noted.rows_out = total["taken"], total["sent"]
        noted.rejected = total["refused"]
        table_artifact("e-mail", [total], "What became of messages")
    return {"status": "done", **total}


def _follow(seconds: float) -> dict[str, Any]:
    """Look every few seconds, in this one run: a task run for each look would fill Prefect's database with nothing."""
    total: dict[str, Any] = asdict(mail.DeliveryReport())
    failures = 0
    with stopped_by_signals() as stop, progress("delivering e-mail") as bar:
        timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), stop.set)
        timer.daemon = True
        timer.start()
        try:
            while not stop.is_set():
                try:
                    report = _send(stop, None)
                    failures = 0
                except SearchFlowError as problem:
                    if not is_passing(problem):
                        raise
                    get_run_logger().warning("%s", problem)
                    report, failures = {}, failures + 1
                for name, count in report.items():
                    total[name] = count if name == "waiting" else total[name] + count
                bar.update(done=total["sent"])
                stop.wait(AWAY.wait(failures) if failures else PAUSE)
        finally:
            timer.cancel()
    return total
