"""Preloading, which tells the browser in the first answer which scripts every page will need.

Streamlit loads the scripts of charts, tables and widgets when the first of them arrives: after the page, the WebSocket
and the page's first run, and then one wave after another. Named in the page's head, they come while it is still waiting.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit
from starlette.datastructures import MutableHeaders

SCRIPTS = Path(streamlit.__file__).parent / "static" / "static" / "js"
NEEDED = (
    "EChartsChart",
    "DataFrame",
    "arrowFormatUtils",
    "Metric",
    "Multiselect",
    "Selectbox",
    "ButtonGroup",
    "Heading",
)
_IMPORT = re.compile(r"""(?:from|import)\s*["']\./([\w.-]+\.js)["']""")


def links() -> str:
    """Return one line for each script: those named above and, transitively, what they import first of all."""
    found: dict[str, None] = {}
    pending = [path.name for name in NEEDED for path in sorted(SCRIPTS.glob(f"{name}.*.js"))]
    while pending:
        name = pending.pop(0)
        path = SCRIPTS / name
        if name in found or not path.exists():
            continue
        found[name] = None
        pending += _IMPORT.findall(path.read_text(encoding="utf-8"))
    return "".join(f'<link rel="modulepreload" crossorigin href="./static/js/{name}">' for name in found)


class Preload:
    """ASGI middleware that adds the links to a page's head. An answer that is not a whole HTML page passes as it is."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.links = links().encode()

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """Pass the request on, and add the links to a whole page."""
        if scope["type"] != "http" or scope["method"] != "GET" or "/static/" in scope["path"]:
            await self.app(scope, receive, send)
            return
        start: dict[str, Any] = {}

        async def add(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                if headers.get("content-type", "").startswith("text/html") and "content-encoding" not in headers:
                    start.update(message)
                    return
            elif start and message["type"] == "http.response.body":
                await self._page(start, message, send)
                return
            await send(message)

        await self.app(scope, receive, add)

    async def _page(self, start: dict[str, Any], message: dict[str, Any], send: Callable[..., Any]) -> None:
        body = message.get("body", b"")
        if start.get("sent"):
            await send(message)
            return
        headers = MutableHeaders(raw=start["headers"])
        changed = body.replace(b"</head>", self.links + b"</head>", 1)
        if "content-length" in headers:
            headers["content-length"] = str(int(headers["content-length"]) + len(changed) - len(body))
        await send({key: value for key, value in start.items() if key != "sent"})
        start["sent"] = True
        await send(message | {"body": changed})
