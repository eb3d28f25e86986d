"""Streamlit's scripts and styles, compressed once and kept in memory: a first visit asks for 140 of them.

Streamlit leaves them uncompressed (6.6 MB; 2.2 MB with gzip) and looks each up on disk at every request, which took a
visit's browser a second of waiting. Their names contain a hash of their content, so that an answer can be kept for as
long as the process lives.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders

COMPRESSIBLE = (".js", ".css", ".svg", ".json", ".html")
SMALLEST = 1000
LEVEL = 6
CONDITIONAL = ("range", "if-none-match", "if-modified-since")
"""A request with one of these is about a part of a file, or may be answered without it: it is passed on."""


@dataclass
class Kept:
    """A whole answer that is kept."""

    start: dict[str, Any]
    body: bytes


@dataclass
class KeptGzip:
    """ASGI middleware around everything; it touches only whole answers for `…/static/…` with the endings above."""

    app: Any
    kept: dict[str, Kept] = field(default_factory=dict)

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """Answer from memory, or pass on and keep the answer."""
        if not self._wanted(scope):
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        if path not in self.kept:
            await self.app(scope, receive, _Answer(self.kept, path, send))
            return
        known = self.kept[path]
        await send(known.start)
        await send({"type": "http.response.body", "body": known.body})

    @staticmethod
    def _wanted(scope: dict[str, Any]) -> bool:
        path = scope.get("path", "")
        if scope["type"] != "http" or scope["method"] != "GET":
            return False
        if "/static/" not in path or not path.endswith(COMPRESSIBLE):
            return False
        headers = Headers(scope=scope)
        return "gzip" in headers.get("accept-encoding", "") and not any(name in headers for name in CONDITIONAL)


class _Answer:
    """A collector of one answer, which compresses it, keeps it and sends it."""

    def __init__(self, kept: dict[str, Kept], path: str, send: Callable[..., Any]) -> None:
        self.kept, self.path, self.send = kept, path, send
        self.start: dict[str, Any] = {}
        self.body = bytearray()

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.start = message
            return
        if message["type"] != "http.response.body" or self.start.get("status") != 200:
            if self.start:
                await self.send(self.start)
                self.start = {}
            await self.send(message)
            return
        self.body += message.get("body", b"")
        if not message.get("more_body", False):
            await self._finish()

    async def _finish(self) -> None:
        body = bytes(self.body)
        headers = MutableHeaders(raw=self.start["headers"])
        if len(body) >= SMALLEST and "content-encoding" not in headers:
            body = gzip.compress(body, LEVEL, mtime=0)
            headers["content-encoding"] = "gzip"
            headers["content-length"] = str(len(body))
            headers.add_vary_header("accept-encoding")
        self.kept[self.path] = Kept(self.start, body)
        await self.send(self.start)
        await self.send({"type": "http.response.body", "body": body})
