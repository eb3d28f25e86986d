"""The webhook: one POST of a notice, signed, with an idempotency key, a short timeout, no redirects, and a few
attempts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

import httpx

from searchflow import targets
from searchflow.backoff import Backoff
from searchflow.settings import Settings

SECONDS = 5.0
AGAIN = Backoff(attempts=3, first=1.0, doubling=True)
"""Attempts within one run. What fails after these is tried again by a later run."""


def post(settings: Settings, payload: dict[str, Any], *, now: datetime) -> str | None:
    """Send a notice. Return None when it was taken, else why it could not be sent: without the address, which may hold
    a secret.
    """
    assert settings.webhook_url is not None
    url = settings.webhook_url.get_secret_value()
    if why := targets.refused(settings, url):
        return why
    body = json.dumps(payload, ensure_ascii=False, sort_keys=True).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "SearchFlow",
        "Idempotency-Key": str(payload["id"]),
        **signature(settings, body, now),
    }
    problem = None
    for _ in AGAIN.tries():
        try:
            answer = httpx.post(
                url,
                content=body,
                headers=headers,
                timeout=SECONDS,
                follow_redirects=False,
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            problem = f"the receiver does not answer ({type(error).__name__})"
            continue
        if answer.is_success:
            return None
        problem = f"the receiver answered {answer.status_code}"
        if answer.status_code < 500 and answer.status_code not in (408, 425, 429):
            return problem  # it would give the same answer again at once
    return problem


def signature(settings: Settings, body: bytes, now: datetime) -> dict[str, str]:
    """Return the HMAC-SHA256 of the timestamp, a dot and the body, in hex, or nothing without
    SEARCHFLOW_WEBHOOK_SECRET.
    """
    if settings.webhook_secret is None:
        return {}
    stamp = str(int(now.timestamp()))
    key = settings.webhook_secret.get_secret_value().encode()
    made = hmac.new(key, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"SearchFlow-Timestamp": stamp, "SearchFlow-Signature": f"sha256={made}"}
