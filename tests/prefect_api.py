"""Call the API of a home's Prefect server, with its password."""

from __future__ import annotations

import httpx

from searchflow.services import prefect
from searchflow.settings import Settings


def call(settings: Settings, place: str, body: object = None, *, method: str = "POST") -> httpx.Response:
    """The answer to one call; `place` is a path of the API, or the whole address of a page that it named."""
    url = place if "://" in place else f"{settings.prefect_api_url}{place}"
    return httpx.request(method, url, json=body, auth=prefect.login(settings), timeout=30)
