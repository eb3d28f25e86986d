"""The platform's figures for Prometheus: printed, or served."""

from __future__ import annotations

from typing import Annotated

import duckdb
import typer

from searchflow import services
from searchflow.cli.support import settings_of_command
from searchflow.errors import PortInUseError, UsageError
from searchflow.ops import metrics as figures
from searchflow.services import process

PORT = 9464
"""What exporters of OpenTelemetry listen on; nobody has registered it for anything else."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: `searchflow metrics --serve --port 9464`")(metrics)


def metrics(
    serve: Annotated[bool, typer.Option("--serve", help="Answer `/metrics` on loopback until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Loopback port, with --serve.")] = PORT,
) -> None:
    """Print runs, rates, lags, latencies, checks and service levels in Prometheus' text format. The dashboards serve the
    same at `/metrics`."""
    settings = settings_of_command()
    if not serve and port != PORT:
        raise UsageError("--port goes with --serve.")
    services.start(settings)
    found = figures.Metrics(lambda: figures.opened(settings))
    if not serve:
        typer.echo(found.text().decode(), nl=False)
        return
    if process.port_taken(port):
        raise PortInUseError(port, "--port", "metrics")
    typer.echo(f"Metrics: http://127.0.0.1:{port}/metrics (Ctrl-C ends)")
    _serve(found, port)


def _serve(found: figures.Metrics, port: int) -> None:
    """One small page, for scrapers."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    from searchflow.errors import SearchFlowError

    def answer(_request: Request) -> Response:
        try:
            return Response(found.text(), media_type=figures.CONTENT_TYPE)
        except (SearchFlowError, duckdb.Error):
            return PlainTextResponse("the warehouse does not answer: see `searchflow status`\n", status_code=503)

    uvicorn.run(Starlette(routes=[Route("/metrics", answer)]), host="127.0.0.1", port=port, log_level="warning")
