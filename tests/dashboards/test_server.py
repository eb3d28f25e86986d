"""What the dashboards' server answers beside pages: reports, metrics, health."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from dashboards import REPORT_PATH, source
from dashboards.server import application
from searchflow.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture
def client(showroom: Settings) -> Iterator[TestClient]:
    source.configure(showroom)
    report = showroom.reports_dir / "quality"
    report.mkdir(parents=True, exist_ok=True)
    (report / "index.html").write_text("<h1>first</h1>")
    yield TestClient(application(showroom, 8501))  # not entered: the pages' own machinery is not started
    source.configure(None)


def test_reports_are_served_as_they_are_now_and_nothing_else_is(client: TestClient, showroom: Settings) -> None:
    answer = client.get(REPORT_PATH)
    assert (answer.status_code, answer.text) == (200, "<h1>first</h1>")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["cache-control"] == "no-cache"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    made = showroom.reports_dir / "quality" / "index.html"
    made.unlink()
    made.write_text("<h1>the second</h1>")
    assert client.get("/reports/quality/").text == "<h1>the second</h1>"
    assert client.get("/reports/other.html").status_code == 404
    for path in ("/reports/../run/pgpass", "/reports/%2e%2e/keys/secret", "/reports/..%2fkeys/secret"):
        assert client.get(path).status_code == 404, path
    assert client.post(REPORT_PATH).status_code == 405


def test_metrics_and_health_are_answered(client: TestClient) -> None:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'searchflow_events_received_total{type="search"}' in answer.text
    assert client.get("/healthz").json()["warehouse"].startswith("up")
