"""The dashboards as an ASGI application on loopback: warmed up, compressed, with a health check."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from dashboards import source, theme
from dashboards.compression import KeptGzip
from dashboards.filters import Filters
from dashboards.periods import DEFAULT_PRESET, of_preset
from searchflow import warehouse
from searchflow.errors import PortInUseError, SearchFlowError
from searchflow.services import process
from searchflow.settings import Settings

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
    """Serve until interrupted.

    Raises:
        PortInUseError: somebody else has the port.
    """
    chosen = port or settings.dashboards_port
    if process.port_taken(chosen, ADDRESS):
        raise PortInUseError(chosen, "SEARCHFLOW_DASHBOARDS_PORT", "dashboards")
    source.configure(settings)
    sys.argv = [str(SCRIPT)]  # App.run reads it: the script is not ours that was started
    application().run(config={**OPTIONS, "server.port": chosen})


def application() -> st.App:
    """The ASGI application. Streamlit's own options must be set by whoever serves it (see `serve`)."""
    return st.App(
        SCRIPT,
        lifespan=_lifespan,
        routes=[Route("/healthz", _health)],
        middleware=[Middleware(KeptGzip)],
    )


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
    """What every first page needs. The platform may not be up yet: then a page says so."""
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


async def _health(_request: Request) -> JSONResponse:
    """200 while pages are served. Whether the warehouse answers is told beside it: a page can say that in words."""
    state = await asyncio.to_thread(_warehouse_state)
    return JSONResponse({"status": "ok", "warehouse": state, "at": datetime.now(UTC).isoformat(timespec="seconds")})


def _warehouse_state() -> str:
    try:
        with source.reading() as reading:
            return f"up, snapshot {warehouse.snapshot_id(reading.cursor)}"
    except SearchFlowError:
        return "down"
