"""The command `searchflow metrics`: the platform's figures for Prometheus, printed or served."""

from __future__ import annotations

from typing import Annotated

import duckdb
import typer

from searchflow.cli.support import say, settings_of_command, with_servers
from searchflow.errors import PortInUseError, UsageError
from searchflow.ops import metrics as figures
from searchflow.services import ports

PORT = 9464
"""The port on which exporters of OpenTelemetry listen; it is registered for nothing else."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: `searchflow metrics --serve --port 9464`")(metrics)


def metrics(
    serve: Annotated[bool, typer.Option("--serve", help="Answer `/metrics` on loopback until Ctrl-C.")] = False,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Loopback port, with --serve; default: 9464, or the next free one."),
    ] = None,
) -> None:
    """Print runs, rates, lags, latencies, checks and service levels in Prometheus' text format. The dashboards serve them
    too, at `/metrics`."""
    settings = settings_of_command()
    if not serve and port is not None:
        raise UsageError("--port goes with --serve.")
    chosen = _port(port) if serve else PORT
    with_servers(settings)
    found = figures.Metrics(lambda: figures.opened(settings))
    if not serve:
        typer.echo(found.text().decode(), nl=False)
        return
    typer.echo(f"Metrics: http://{ports.LOOPBACK}:{chosen}/metrics (Ctrl-C ends)")
    _serve(found, chosen)


def _port(wanted: int | None) -> int:
    """Return the port that the user gave, else the usual one, else the next free one, and report that."""
    if wanted is not None:
        if not ports.free(wanted):
            raise PortInUseError(wanted, "--port", "metrics")
        return wanted
    chosen = ports.next_free(PORT)
    if chosen != PORT:
        say(f"port {PORT} is taken by another program; port {chosen} is for the metrics")
    return chosen


def _serve(found: figures.Metrics, port: int) -> None:
    """Serve one small page for scrapers."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    from searchflow.errors import SearchFlowError

    def answer(_request: Request) -> Response:
        try:
            return Response(found.text(), media_type=figures.CONTENT_TYPE)
        except (SearchFlowError, duckdb.Error):
            return PlainTextResponse("the warehouse does not answer: see `searchflow status`\n", status_code=503)

    # A page of another site could let its own name point here and read the figures, so only this machine's names count.
    asked_for = Middleware(TrustedHostMiddleware, allowed_hosts=[ports.LOOPBACK, "localhost"])
    page = Starlette(routes=[Route("/metrics", answer)], middleware=[asked_for])
    uvicorn.run(page, host=ports.LOOPBACK, port=port, log_level="warning")
