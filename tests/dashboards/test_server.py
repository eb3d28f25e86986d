"""What the dashboards' server answers beside pages: reports, metrics, health."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import httpx
import pytest
from starlette.applications import Starlette

from dashboards import REPORT_PATH, source
from dashboards.server import routes
from searchflow.settings import Settings

pytestmark = pytest.mark.integration
Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(showroom: Settings) -> Iterator[Ask]:
    source.configure(showroom)
    report = showroom.reports_dir / "quality"
    report.mkdir(parents=True, exist_ok=True)
    (report / "index.html").write_text("<h1>first</h1>")
    # Without Streamlit: a process can have only one of it.
    transport = httpx.ASGITransport(app=Starlette(routes=routes(showroom)))

    async def send(path: str, method: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8501") as client:
            return await client.request(method, path)

    yield lambda path, method="GET": asyncio.run(send(path, method))
    source.configure(None)


def test_reports_are_served_as_they_are_now_and_nothing_else_is(ask: Ask, showroom: Settings) -> None:
    answer = ask(REPORT_PATH)
    assert (answer.status_code, answer.text) == (200, "<h1>first</h1>")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["cache-control"] == "no-cache"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    made = showroom.reports_dir / "quality" / "index.html"
    made.unlink()
    made.write_text("<h1>the second</h1>")
    assert ask("/reports/quality/").text == "<h1>the second</h1>"
    assert ask("/reports/other.html").status_code == 404
    for path in ("/reports/../run/pgpass", "/reports/%2e%2e/keys/secret", "/reports/..%2fkeys/secret"):
        assert ask(path).status_code == 404, path
    assert ask(REPORT_PATH, "POST").status_code == 405


def test_metrics_and_health_are_answered(ask: Ask) -> None:
    answer = ask("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'searchflow_events_received_total{type="search"}' in answer.text
    assert ask("/healthz").json()["warehouse"].startswith("up")
