"""Access to figures of the platform (`/metrics`, `/healthz`): programs on this machine, and people who are logged in.

A proxy on this machine looks like a program on it. So below a public address only a login counts, and where the public
address has no path of its own, that is everywhere: `searchflow metrics --serve` is for machines then.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

from dashboards import login
from searchflow.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")
FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
"""The headers that proxies add to a request that they pass on."""
REFUSED = (
    "These figures are for programs on this machine, and for people who are logged in at the dashboards. "
    "`searchflow metrics --serve` gives them to Prometheus.\n"
)


def may_ask(settings: Settings, request: Request, below: str = "") -> bool:
    """Return true for a program on this machine, asked at the root, and for a person who is logged in and allowed.

    `below` is the path of the public address when the request came there.
    """
    if login.wanted(settings) and login.of_request(settings, request):
        return True
    public = settings.dashboards_url
    behind = bool(below) or (public is not None and not urlsplit(public).path.strip("/"))
    return not behind and _local(request)


def _local(request: Request) -> bool:
    """Return whether the request names this machine as the one it wants, and nothing says that it was passed on."""
    from_here = request.client is None or request.client.host in LOOPBACK
    return from_here and request.url.hostname in LOOPBACK and not any(name in request.headers for name in FORWARDED)
