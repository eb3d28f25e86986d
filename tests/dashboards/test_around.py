"""What stands around the pages: downloads, comparisons, scripts from memory, the proxy's options, who may log in."""

from __future__ import annotations

import asyncio
import gzip
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route

from dashboards import export, login, preload, schedule, server, sparkline
from dashboards.compression import KeptGzip
from dashboards.periods import COMPARISONS, Period, of_preset
from dashboards.queries import kpis
from dashboards.queries.kpis import Kpis
from searchflow.errors import ConfigurationError
from searchflow.settings import load_settings

LAST = date(2026, 3, 31)


def get(app: Any, path: str, **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


def test_no_cell_of_a_download_is_a_formula() -> None:
    rows = [
        {"name": "=1+1", "value": -2.5},
        {"name": "@SUM(A1)", "value": None},
        {"name": "plain, with comma", "value": 3},
    ]
    text = export.as_csv(rows, {"name": "Name", "value": "+Value"}).decode("utf-8-sig")
    assert text.splitlines() == ["Name,'+Value", "'=1+1,-2.5", "'@SUM(A1),", '"plain, with comma",3']


def days(revenue: float, first: date, last: date) -> list[tuple[date, Kpis]]:
    count = (last - first).days + 1
    return [(first + timedelta(days=n), Kpis(revenue=revenue, searches=10)) for n in range(count)]


def test_weeks_are_whole_and_compared_with_the_one_before_and_52_weeks_earlier() -> None:
    spans = kpis.spans(days(10, date(2025, 1, 1), LAST), "week", last_over=LAST)
    assert spans[0].period == Period(date(2026, 3, 23), date(2026, 3, 29))  # the 30th and 31st begin another
    assert (spans[0].now.revenue, spans[0].before and spans[0].before.revenue) == (70, 70)
    assert spans[0].year is not None
    assert [span.period.days for span in spans] == [7] * 9


def test_a_month_is_compared_with_the_same_month_whatever_its_length() -> None:
    spans = kpis.spans(days(1, date(2025, 2, 1), LAST), "month", last_over=LAST)
    february = spans[1]
    assert february.period == Period(date(2026, 2, 1), date(2026, 2, 28))
    assert (february.before and february.before.revenue, february.year and february.year.revenue) == (31, 28)
    assert spans[-1].year is None  # March 2024 is not known
    assert kpis.spans(days(1, LAST, LAST), "month", last_over=LAST) == []


def test_what_a_period_is_compared_with() -> None:
    week = Period(date(2026, 3, 25), LAST)
    assert COMPARISONS["previous"].of(week) == Period(date(2026, 3, 18), date(2026, 3, 24))
    assert COMPARISONS["year"].of(week) == Period(date(2025, 3, 25), date(2025, 3, 31))
    assert COMPARISONS["none"].of(week) is None


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("1d", Period(LAST, LAST)),
        ("mtd", Period(date(2026, 3, 1), LAST)),
        ("month", Period(date(2026, 2, 1), date(2026, 2, 28))),
    ],
)
def test_presets_of_days_and_months(preset: str, expected: Period) -> None:
    assert of_preset(preset, Period(date(2025, 1, 1), LAST), last_over=LAST) == expected


def test_a_script_is_asked_for_once_and_answered_from_memory() -> None:
    asked: list[str] = []
    body = "x = 1; " * 1000

    async def script(request: Any) -> PlainTextResponse:
        asked.append(request.url.path)
        return PlainTextResponse(body, headers={"etag": "1"})

    app = KeptGzip(Starlette(routes=[Route("/static/js/{name}", script)]))
    answers = [get(app, "/static/js/a.js") for _ in range(3)]
    assert [answer.text for answer in answers] == [body] * 3
    assert answers[2].headers["content-encoding"] == "gzip"
    assert int(answers[2].headers["content-length"]) == len(gzip.compress(body.encode(), 6, mtime=0))
    assert asked == ["/static/js/a.js"]
    get(app, "/static/js/a.js", **{"if-none-match": "1"})  # may have a shorter answer: not ours to give
    assert len(asked) == 2


def test_a_page_names_the_scripts_that_it_will_need_and_nothing_else_is_touched() -> None:
    async def page(_: Any) -> HTMLResponse:
        return HTMLResponse("<html><head><title>t</title></head><body>b</body></html>")

    async def text(_: Any) -> PlainTextResponse:
        return PlainTextResponse("<head></head>")

    app = preload.Preload(Starlette(routes=[Route("/", page), Route("/text", text)]))
    answer = get(app, "/")
    assert answer.text.count("modulepreload") == preload.links().count("modulepreload") > 10
    assert 'href="./static/js/EChartsChart.' in answer.text
    assert answer.text.endswith("</head><body>b</body></html>")
    assert get(app, "/text").text == "<head></head>"


def test_a_sparkline_is_made_of_numbers_alone() -> None:
    drawn = sparkline.svg([1.0, 3.0, 2.0], "#2F78C4")
    assert 'points="0.0,41.0 100.0,3.0 200.0,22.0"' in drawn
    assert sparkline.svg([2.0, 2.0], "#000").count("points=") == 2  # all alike: no division by nothing


def test_behind_a_proxy_pages_live_below_the_path_of_their_address(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, dashboards_url="https://bi.example.com/searchflow/")
    found = server.options(settings, 8600)
    assert (found["server.baseUrlPath"], found["browser.serverAddress"], found["browser.serverPort"]) == (
        "searchflow",
        "bi.example.com",
        443,
    )
    assert server.address(load_settings(home=tmp_path), 8600) == "http://127.0.0.1:8600"
    assert "server.baseUrlPath" not in server.options(load_settings(home=tmp_path), 8600)
    with pytest.raises(ConfigurationError, match="SEARCHFLOW_DASHBOARDS_URL"):
        load_settings(home=tmp_path, dashboards_url="bi.example.com")


def test_a_login_needs_all_of_its_settings_or_none(tmp_path: Path) -> None:
    assert not login.wanted(load_settings(home=tmp_path))
    with pytest.raises(ConfigurationError, match="SEARCHFLOW_OIDC_CLIENT_SECRET"):
        login.wanted(load_settings(home=tmp_path, oidc_metadata_url="https://id.example.com", oidc_client_id="d"))
    whole = load_settings(
        home=tmp_path, oidc_metadata_url="https://id.example.com", oidc_client_id="d", oidc_client_secret="s"
    )
    secrets = login.secrets(whole, "https://bi.example.com/x")["auth"]
    assert secrets["redirect_uri"] == "https://bi.example.com/x/oauth2callback"
    assert len(secrets["cookie_secret"]) == 64
    assert login.secrets(load_settings(home=tmp_path), "http://x") == {}


ALLOWED = "@example.com, guest@elsewhere.example, @straße.example, k@elsewhere.example, @☃.example"


@pytest.mark.parametrize(
    ("address", "verified", "may"),
    [
        ("Ada@Example.com", True, True),
        ("guest@elsewhere.example", True, True),
        ("eve@elsewhere.example", True, False),
        ("eve@evil@example.com", True, False),
        ("eve@notexample.com", True, False),
        ("ada@example.com", False, False),
        (None, True, False),
        ("ada@xn--strae-oqa.example", True, True),  # how the provider may write the domain of a rule
        ("Ada@STRAẞE.example", True, True),
        ("ada@strasse.example", True, False),  # another domain: IDNA 2003 takes it for the same
        ("ada@☃.example", True, False),  # IDNA 2008 allows no such domain
        ("\u212a@elsewhere.example", True, False),  # the sign of kelvin, which lower-cases to k
        ("", True, False),
    ],
)
def test_who_may_log_in(tmp_path: Path, address: str | None, verified: bool, may: bool) -> None:
    settings = load_settings(home=tmp_path, oidc_allowed=ALLOWED)
    assert login.allowed(settings, address, verified) is may


def test_where_no_prefect_answers_nothing_is_scheduled(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, prefect_port=9)
    found = schedule.known(settings, wait=True)
    assert (found.answers, found.next_refresh, found.runs) == (False, None, [])
    assert schedule.known(settings) is found  # kept for a while


def test_a_websocket_from_another_site_is_refused() -> None:
    from dashboards.origin import SameOrigin

    async def attempt(origin: str) -> list[str]:
        sent: list[str] = []

        async def inner(_scope: Any, _receive: Any, _send: Any) -> None:
            sent.append("let in")

        async def send(message: dict[str, Any]) -> None:
            sent.append(message["type"])

        headers = [(b"host", b"127.0.0.1:8501"), (b"origin", origin.encode())]
        await SameOrigin(inner, "https://bi.example.com/x")({"type": "websocket", "headers": headers}, None, send)  # type: ignore[arg-type]
        return sent

    assert asyncio.run(attempt("http://127.0.0.1:8501")) == ["let in"]
    assert asyncio.run(attempt("https://bi.example.com")) == ["let in"]
    assert asyncio.run(attempt("https://evil.example")) == ["websocket.close"]
