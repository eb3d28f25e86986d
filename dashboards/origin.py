"""Pages of other sites may not talk to this server: a WebSocket must come from the address that serves it.

Streamlit checks that too, but to know the addresses of the machine it asks a server on the internet who it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers


class SameOrigin:
    """ASGI middleware: a WebSocket from elsewhere is refused before it is accepted."""

    def __init__(self, app: Any, public: str | None = None) -> None:
        self.app = app
        self.public = urlsplit(public).netloc if public else None

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """Pass on, or refuse."""
        if scope["type"] == "websocket":
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc not in (headers.get("host"), self.public):
                await send({"type": "websocket.close", "code": 1008})
                return
        await self.app(scope, receive, send)
