"""Origin check, so that pages of other sites cannot talk to this server: a request must ask for one of our own
addresses, and a WebSocket must come from a page of it.

Streamlit checks the second too, but to know the addresses of the machine it asks a server on the internet who it is. The
first is for names that another site lets point to this machine: its pages would otherwise read our own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from dashboards.machine import LOOPBACK

UNKNOWN = (
    "The dashboards are not known by this name. Open them at the address that `searchflow up` prints, or set "
    "SEARCHFLOW_DASHBOARDS_URL to the one that people use.\n"
)


class SameOrigin:
    """ASGI middleware that refuses a request for another site, and a WebSocket from elsewhere."""

    def __init__(self, app: Any, public: str | None = None) -> None:
        self.app = app
        self.public = urlsplit(public) if public else None

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """Pass the request on, or refuse it."""
        headers = Headers(scope=scope) if scope["type"] in ("http", "websocket") else Headers()
        if scope["type"] == "websocket" and not (self._ours(headers) and self._from_ours(headers)):
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http" and not self._ours(headers):
            await PlainTextResponse(UNKNOWN, status_code=421)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _ours(self, headers: Headers) -> bool:
        """Return whether the request asks for this machine, or for the public address."""
        host = urlsplit(f"//{headers.get('host', '')}").hostname
        return host in (*LOOPBACK, self.public.hostname if self.public else None)

    def _from_ours(self, headers: Headers) -> bool:
        """Return whether no page, or a page of the address that is asked for, opens a WebSocket."""
        origin = headers.get("origin")
        public = self.public.netloc if self.public else None
        return origin is None or urlsplit(origin).netloc in (headers.get("host"), public)
