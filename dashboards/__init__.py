"""Pages for the people who decide, from executives to operations. Reads the marts; may import only `searchflow`.

Rooms: `pages/` (one file a page, read top to bottom), `operations/` (the sections of that page), `queries/` (all SQL,
over marts and ops only), `charts/` (ECharts options), `formats` (numbers and words), `periods` (dates and what they are
compared with), `filters` (the sidebar), `frame` (what every page has: title, trust line, states), `source` (read-only
snapshots of the lake), `theme` (looks), `server` (ASGI). Nothing here can write: the lake is attached read-only.
"""

from __future__ import annotations

import sys

from searchflow.settings import Settings

__all__ = ["PROCESS", "REPORTS", "REPORT_PATH", "command", "serve"]

PROCESS = "searchflow dashboards"
"""Who reads, in the audit log."""

REPORTS = "/reports"
"""Where the server shows the folder of reports."""
REPORT_PATH = f"{REPORTS}/quality/index.html"
"""Where a page finds the data-quality report on this server."""


def command(settings: Settings) -> list[str]:
    """The process to start for the dashboards of this installation (its home comes from SEARCHFLOW_HOME)."""
    return [sys.executable, "-m", "dashboards", "--port", str(settings.dashboards_port)]


def serve(settings: Settings, *, port: int | None = None) -> None:
    """Serve on 127.0.0.1 until interrupted; `port` defaults to the setting's.

    Raises:
        PortInUseError: somebody else has the port.
    """
    from dashboards.server import serve as serve_here  # imports Streamlit

    serve_here(settings, port=port)
