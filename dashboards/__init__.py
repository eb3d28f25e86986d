"""Pages for the people who decide, from executives to operations. Reads the marts; may import only `searchflow`.

Rooms: `pages/` (a file for each page, read top to bottom), `operations/` (the sections of that page), `queries/` (all SQL,
over marts and ops only), `charts/` (ECharts options), `formats` (numbers and words), `periods` (dates, and the days that
they are compared with), `filters` (the sidebar), `frame` (the parts of every page: title, trust line, states), `source`
(read-only snapshots of the lake), `theme` (looks), `server` (ASGI). Nothing here can write: the lake is attached read-only.
"""

from __future__ import annotations

import sys

from searchflow.settings import Settings

__all__ = ["PROCESS", "REPORTS", "REPORT_PATH", "command", "serve"]

PROCESS = "searchflow dashboards"
"""The name of the reader in the audit log."""

REPORTS = "/reports"
"""The path at which the server shows the folder of reports."""
REPORT_PATH = f"{REPORTS}/quality/index.html"
"""The path of the data-quality report on this server."""


def command(settings: Settings) -> list[str]:
    """Return the process to start for the dashboards of this installation (its home comes from SEARCHFLOW_HOME)."""
    return [sys.executable, "-m", "dashboards", "--port", str(settings.dashboards_port)]


def serve(settings: Settings, *, port: int | None = None) -> None:
    """Serve on 127.0.0.1 until interrupted; `port` defaults to the setting's.

    Raises:
        PortInUseError: another process has the port.
    """
    from dashboards.server import serve as serve_here  # imports Streamlit

    serve_here(settings, port=port)
