"""The dashboards as an ASGI application on loopback: warmed up, compressed, with a health check."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import streamlit as st
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from dashboards import REPORTS, login, machine, source, theme
from dashboards.compression import KeptGzip
from dashboards.filters import Filters
from dashboards.origin import SameOrigin
from dashboards.periods import DEFAULT_PRESET, of_preset
from dashboards.preload import Preload
from searchflow import warehouse
from searchflow.clock import utc_now
from searchflow.errors import PortInUseError, SearchFlowError
from searchflow.ops import metrics
from searchflow.services import ports
from searchflow.settings import Settings

Answer = Callable[[Request], Awaitable[Response]]
SCRIPT = Path(__file__).parent / "script" / "visit.py"
ADDRESS = "127.0.0.1"
OPTIONS: dict[str, Any] = {
    "server.address": ADDRESS,
    "server.headless": True,
    "server.fileWatcherType": "none",  # pages do not change while they are served
    "server.runOnSave": False,
    "runner.magicEnabled": False,  # else a docstring under a constant is drawn on the page
    "browser.gatherUsageStats": False,  # else the browser calls Streamlit's servers
    "browser.serverAddress": ADDRESS,
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",  # a traceback may hold data; it goes to the log
    "client.showErrorLinks": False,
    "global.suppressDeprecationWarnings": True,
    **theme.OPTIONS,
}


def serve(settings: Settings, *, port: int | None = None) -> None:
    """Serve the dashboards until interrupted.

    Raises:
        PortInUseError: another process has the port.
    """
    chosen = port or settings.dashboards_port
    if not ports.free(chosen):
        raise PortInUseError(chosen, "SEARCHFLOW_DASHBOARDS_PORT", "dashboards")
    source.configure(settings)
    sys.argv = [str(SCRIPT)]  # App.run reads it: the script that was started is another
    application(settings, chosen).run(config=options(settings, chosen))


def address(settings: Settings, port: int) -> str:
    """Return where people find the dashboards, without a slash at the end."""
    return (settings.dashboards_url or f"http://{ADDRESS}:{port}").rstrip("/")


def options(settings: Settings, port: int) -> dict[str, Any]:
    """Return Streamlit's options for this installation: behind a proxy, pages live below the path of their public
    address."""
    chosen = {**OPTIONS, "server.port": port}
    if settings.dashboards_url:
        public = urlsplit(address(settings, port))
        chosen |= {
            "server.baseUrlPath": public.path.strip("/"),
            "browser.serverAddress": public.hostname,
            "browser.serverPort": public.port or (443 if public.scheme == "https" else 80),
        }
    return chosen


def application(settings: Settings, port: int) -> st.App:
    """Return the ASGI application. The process that serves it must set Streamlit's own options (see `serve`)."""
    below = urlsplit(address(settings, port)).path
    return st.App(
        SCRIPT,
        secrets=login.secrets(settings, address(settings, port)),
        lifespan=_lifespan,
        routes=[*routes(settings), *(routes(settings, below) if below else [])],
        middleware=[
            Middleware(SameOrigin, public=settings.dashboards_url),
            Middleware(Preload),
            Middleware(KeptGzip),
        ],
    )


def routes(settings: Settings, below: str = "") -> list[BaseRoute]:
    """Return what is served beside the pages: at the root for programs on this machine, and below the public address."""

    def guarded(answer: Answer) -> Answer:
        async def answered(request: Request) -> Response:
            if not machine.may_ask(settings, request, below):
                return PlainTextResponse(machine.REFUSED, status_code=403)
            return await answer(request)

        return answered

    return [
        Route(f"{below}/healthz", guarded(_health)),
        Route(f"{below}/metrics", guarded(_metrics)),
        Mount(f"{below}{REPORTS}", app=Reports(settings)),
    ]


@asynccontextmanager
async def _lifespan(_app: st.App) -> AsyncIterator[None]:
    """Open the lake and ask the first page's questions meanwhile: the first visitor does not wait for imports."""
    warming = asyncio.create_task(asyncio.to_thread(warm_up))
    try:
        yield
    finally:
        with suppress(Exception):
            await warming
        source.configure(None)


def warm_up() -> None:
    """Load what every first page needs. The platform may not be up yet: then a page says so."""
    importlib.import_module("pandas")  # Streamlit imports it at the first table

    from dashboards.queries import choices, kpis

    try:
        with source.reading() as reading:
            if not {"marts.mart_kpi_daily", "marts.fct_search_funnel_daily"} <= reading.tables():
                return
            known = choices.calendar(reading)
            choices.values(reading)
            if known is not None:
                kpis.daily(reading, Filters(), of_preset(DEFAULT_PRESET, known, last_over=known.last))
    except SearchFlowError as error:
        logging.getLogger(__name__).info("nothing to warm up: %s", error)


class Reports(StaticFiles):
    """The reports folder, read-only, at `/reports`: the pages, and nothing they might load from elsewhere."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(directory=settings.reports_dir, html=True, check_dir=False)
        self._settings = settings

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, never from a cache that has not asked: reports are made again under the same name.

        Where the pages ask for a login, only a person who has logged in gets it.
        """
        if not login.of_request(self._settings, Request(scope)):
            return PlainTextResponse("Log in at the dashboards first, then open this address again.\n", status_code=401)
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = "no-cache"
        answer.headers["Content-Security-Policy"] = "default-src 'self' 'unsafe-inline' data:; form-action 'none'"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer


async def _metrics(_request: Request) -> Response:
    """Return the ops tables for Prometheus; answer 503 while the warehouse does not answer."""
    try:
        text = await asyncio.to_thread(_kept_metrics.text)
    except (SearchFlowError, duckdb.Error):
        return PlainTextResponse("the warehouse does not answer: see `searchflow status`\n", status_code=503)
    return Response(text, media_type=metrics.CONTENT_TYPE)


@contextmanager
def _reading() -> Iterator[metrics.Query]:
    with source.reading() as reading:
        yield metrics.query_of(reading.cursor)


_kept_metrics = metrics.Metrics(_reading)


async def _health(_request: Request) -> Response:
    """Answer 200 while pages are served. Whether the warehouse answers is told beside it: a page can say that in
    words."""
    state = await asyncio.to_thread(_warehouse_state)
    return JSONResponse({"status": "ok", "warehouse": state, "at": utc_now().isoformat(timespec="seconds")})


def _warehouse_state() -> str:
    try:
        with source.reading() as reading:
            return f"up, snapshot {warehouse.snapshot_id(reading.cursor)}"
    except SearchFlowError:
        return "down"
