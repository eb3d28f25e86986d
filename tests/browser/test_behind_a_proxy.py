"""The dashboards behind a reverse proxy at a path, and behind a login with an OpenID provider: real, small ones of both."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import uvicorn
from joserfc import jwk, jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as connect_now

from dashboards import REPORT_PATH
from searchflow.settings import Settings
from tests.browser.conftest import Visitor, free_port, served

pytestmark = [pytest.mark.browser, pytest.mark.integration]
PLACE = "/searchflow"
HOP_BY_HOP = {"connection", "content-encoding", "content-length", "transfer-encoding", "host"}


@contextmanager
def running(app: Any, port: int) -> Iterator[str]:
    """An ASGI application on loopback for the block."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="websockets-sansio"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


def proxy(upstream: str) -> Starlette:
    """Passes everything below PLACE on to the dashboards, path and Host unchanged; knows nothing else."""

    async def pass_on(request: Request) -> Response:
        async with httpx.AsyncClient(base_url=upstream, timeout=30) as client:
            answer = await client.request(
                request.method,
                request.url.path + (f"?{request.url.query}" if request.url.query else ""),
                headers={name: value for name, value in request.headers.items() if name != "accept-encoding"},
                content=await request.body(),
            )
        given = Response(answer.content, answer.status_code)
        for name, value in answer.headers.multi_items():  # several cookies are several headers
            if name not in HOP_BY_HOP:
                given.headers.append(name, value)
        return given

    async def pass_on_socket(socket: WebSocket) -> None:
        wanted = socket.scope["subprotocols"]
        cookies = {name: value for name, value in socket.headers.items() if name == "cookie"}
        target = (
            f"ws://{socket.headers['host']}{socket.url.path}"  # the Host of the browser, at the address of the server
        )
        inner = urlsplit(upstream)
        async with connect(
            target,
            host=inner.hostname,
            port=inner.port,
            subprotocols=wanted,
            origin=socket.headers["origin"],
            additional_headers=cookies,
            max_size=None,
        ) as there:
            await socket.accept(there.subprotocol)

            async def down() -> None:
                async for message in there:
                    await (socket.send_bytes(message) if isinstance(message, bytes) else socket.send_text(message))

            back = asyncio.create_task(down())
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                await there.send(message.get("bytes") or message.get("text") or b"")
            back.cancel()

    return Starlette(
        routes=[
            Route(f"{PLACE}/{{path:path}}", pass_on, methods=["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]),
            WebSocketRoute(f"{PLACE}/{{path:path}}", pass_on_socket),
        ]
    )


class Provider:
    """An OpenID provider that lets everybody in as `person`."""

    def __init__(self, port: int) -> None:
        self.issuer, self.person = f"http://127.0.0.1:{port}", "ada@example.com"
        self.key = jwk.RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"})
        self.nonces: dict[str, str] = {}

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.metadata),
                Route("/authorize", self.authorize),
                Route("/token", self.token, methods=["POST"]),
                Route("/keys", self.keys),
            ]
        )

    async def metadata(self, _: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def authorize(self, request: Request) -> Response:
        asked = request.query_params
        code = f"code{len(self.nonces)}"
        self.nonces[code] = asked.get("nonce", "")
        return RedirectResponse(f"{asked['redirect_uri']}?code={code}&state={asked['state']}")

    async def token(self, request: Request) -> Response:
        given = parse_qs((await request.body()).decode())
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": "1",
            "aud": "dashboards",
            "iat": now,
            "exp": now + 600,
            "nonce": self.nonces[given["code"][0]],
            "email": self.person,
            "email_verified": True,
        }
        signed = jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.key)
        return JSONResponse({"access_token": "a", "token_type": "Bearer", "expires_in": 600, "id_token": signed})

    async def keys(self, _: Request) -> Response:
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})


@pytest.fixture(scope="module")
def behind(showroom: Settings) -> Iterator[tuple[str, str, Provider]]:
    """The public address, the server's own, and the provider."""
    inner, outer, identity = free_port(), free_port(), free_port()
    provider = Provider(identity)
    public = f"http://127.0.0.1:{outer}{PLACE}"
    environment = {
        "SEARCHFLOW_DASHBOARDS_URL": public,
        "SEARCHFLOW_OIDC_METADATA_URL": f"{provider.issuer}/.well-known/openid-configuration",
        "SEARCHFLOW_OIDC_CLIENT_ID": "dashboards",
        "SEARCHFLOW_OIDC_CLIENT_SECRET": "a secret of this test",
        "SEARCHFLOW_OIDC_ALLOWED": "@example.com",
    }
    with (
        running(provider.app(), identity),
        served(showroom, inner, **environment) as own,
        running(proxy(own), outer),
    ):
        yield public, own, provider


def test_only_who_may_sees_the_pages_and_all_of_it_works_below_the_path(
    browser: Any, behind: tuple[str, str, Provider]
) -> None:
    public, _, provider = behind
    visitor = Visitor(browser, public)
    visitor.open("funnel?country=Canada")
    assert "Log in" in visitor.text()
    assert "CA$" not in visitor.text()
    visitor.also_allowed = provider.issuer
    visitor.page.get_by_role("button", name="Log in").click()
    visitor.page.get_by_role("heading", level=1, name="Executive overview").wait_for()
    visitor.settled()
    assert "CA$4,790" in visitor.text()
    assert visitor.page.url.startswith(public)
    visitor.turn_to("Search funnel")
    assert visitor.page.url.startswith(f"{public}/funnel")
    visitor.open("funnel?country=Canada")
    assert "only Canada" in visitor.text()
    visitor.close()
    assert visitor.complaints == []


def test_a_stranger_is_told_so_and_sees_nothing(browser: Any, behind: tuple[str, str, Provider]) -> None:
    public, _, provider = behind
    provider.person = "eve@elsewhere.example"
    visitor = Visitor(browser, public)
    visitor.open()
    visitor.page.get_by_role("button", name="Log in").click()
    visitor.page.get_by_text("not open to you").wait_for()
    assert "CA$" not in visitor.text()
    visitor.close()
    provider.person = "ada@example.com"


def test_pages_of_other_sites_cannot_talk_to_the_server(behind: tuple[str, str, Provider]) -> None:
    public, own, _ = behind

    stream = f"{own.replace('http', 'ws')}{PLACE}/_stcore/stream"
    with connect_now(stream, origin=public.removesuffix(PLACE), subprotocols=["streamlit"]):
        pass
    with pytest.raises(InvalidStatus, match="403"):
        connect_now(stream, origin="https://evil.example", subprotocols=["streamlit"])
    assert httpx.get(f"{own}/healthz").json()["status"] == "ok"


def test_what_stands_beside_the_pages_is_no_way_around_the_login(
    browser: Any, behind: tuple[str, str, Provider], showroom: Settings
) -> None:
    public, own, provider = behind
    report = showroom.reports_dir / "quality" / "index.html"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("<h1>What was checked</h1>")
    for address in (f"{public}{REPORT_PATH}", f"{own}{PLACE}{REPORT_PATH}", f"{own}{REPORT_PATH}"):
        assert httpx.get(address).status_code == 401
        assert httpx.get(address, cookies={"_streamlit_user": "eyJpc19sb2dnZWRfaW4iOnRydWV9.x.y"}).status_code == 401
    for name in ("metrics", "healthz"):
        assert "searchflow_" not in httpx.get(f"{public}/{name}").text
        assert '"warehouse"' not in httpx.get(f"{public}/{name}").text
    for person, seen in (("eve@elsewhere.example", "Log in"), ("ada@example.com", "What was checked")):
        provider.person = person
        visitor = Visitor(browser, public)
        visitor.open()
        visitor.also_allowed = provider.issuer
        visitor.page.get_by_role("button", name="Log in").click()
        visitor.page.get_by_role("button", name="Log out").wait_for()
        visitor.page.goto(f"{public}{REPORT_PATH}")
        assert seen in visitor.page.inner_text("body")
        visitor.close()
