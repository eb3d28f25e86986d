"""Figures for machines are for this machine or behind the login, whatever the public address and its proxy are."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware

from dashboards import source
from dashboards.origin import SameOrigin
from dashboards.server import routes
from searchflow.settings import Settings, load_settings

PUBLIC = "https://bi.example.com"
LOGIN = {
    "oidc_metadata_url": "https://id.example.com/.well-known/openid-configuration",
    "oidc_client_id": "dashboards",
    "oidc_client_secret": "a secret",
}


def answered(settings: Settings, address: str, **headers: str) -> int:
    """The status of a request to the routes beside the pages, put together as the server does."""
    below = "/bi" if (settings.dashboards_url or "").endswith("/bi") else ""
    served = [*routes(settings), *(routes(settings, below) if below else [])]
    guards = [Middleware(SameOrigin, public=settings.dashboards_url)]

    async def ask() -> int:
        transport = httpx.ASGITransport(app=Starlette(routes=served, middleware=guards))
        async with httpx.AsyncClient(transport=transport) as client:
            return (await client.get(address, headers=headers)).status_code

    source.configure(settings)
    try:
        return asyncio.run(ask())
    finally:
        source.configure(None)


@pytest.mark.parametrize("name", ["metrics", "healthz"])
@pytest.mark.parametrize("login", [{}, LOGIN], ids=["without login", "with login"])
@pytest.mark.parametrize(
    ("public", "address", "headers"),
    [
        (PUBLIC, f"{PUBLIC}/", {}),  # no path of its own: the proxy passes everything
        (PUBLIC, "http://127.0.0.1:8501/", {}),  # and may say that it wants this machine
        (PUBLIC, "http://127.0.0.1:8501/", {"x-forwarded-for": "203.0.113.7"}),
        (f"{PUBLIC}/bi", f"{PUBLIC}/bi/", {}),
        (f"{PUBLIC}/bi", "http://127.0.0.1:8501/bi/", {}),
        (f"{PUBLIC}/bi", f"{PUBLIC}/", {}),
        (None, "http://127.0.0.1:8501/", {"x-forwarded-for": "203.0.113.7"}),  # a proxy that we were not told of
        (None, "http://127.0.0.1:8501/", {"forwarded": "for=203.0.113.7"}),
        (None, "http://elsewhere.example/", {}),  # a name of another site that points here
    ],
)
def test_figures_are_not_given_through_a_public_address(
    tmp_path: Path, name: str, login: dict[str, str], public: str | None, address: str, headers: dict[str, str]
) -> None:
    settings = load_settings(home=tmp_path, dashboards_url=public, **login)
    assert answered(settings, f"{address}{name}", **headers) in (403, 421)


@pytest.mark.parametrize("public", [None, f"{PUBLIC}/bi"])
@pytest.mark.parametrize("address", ["http://127.0.0.1:8501", "http://localhost:8501"])
def test_programs_on_this_machine_are_answered(tmp_path: Path, public: str | None, address: str) -> None:
    settings = load_settings(home=tmp_path, dashboards_url=public)
    assert answered(settings, f"{address}/healthz") == 200


def test_pages_are_not_served_under_the_name_of_another_site(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, dashboards_url=PUBLIC)
    settings.reports_dir.mkdir()
    assert answered(settings, "http://elsewhere.example:8501/reports/quality/index.html") == 421
    assert answered(settings, f"{PUBLIC}/reports/quality/index.html") == 404
