"""Prefect's API is behind a password: a client that may call it has code run as this account."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Iterator

import httpx
import psutil
import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect as connect_now

from flows import activation
from searchflow import actor, keys
from searchflow.services import prefect, process
from searchflow.settings import Settings
from tests.browser.conftest import free_port
from tests.commands import CommandLine

pytestmark = pytest.mark.integration
NEW_FLOW = {"name": "from elsewhere"}
CALLS = [
    ("GET", "/admin/version", None),
    ("GET", "/admin/settings", None),
    ("POST", "/deployments/filter", {}),
    ("POST", "/flow_runs/filter", {}),
    ("POST", "/artifacts/filter", {}),
    ("POST", "/events/filter", {}),
    ("POST", "/logs/filter", {}),
    ("POST", "/flows/", NEW_FLOW),
    ("POST", "/work_pools/", {"name": "theirs", "type": "process"}),
    ("POST", "/variables/", {"name": "theirs", "value": "1"}),
]
SOCKETS = ["/events/in", "/events/out", "/logs/out", "/task_runs/subscriptions/scheduled"]


@pytest.fixture(scope="module")
def served(platform: Settings) -> Iterator[Settings]:
    settings = prefect.start(platform.model_copy(update={"prefect_port": free_port()}))
    yield settings
    prefect.stop(settings)


@pytest.mark.parametrize(("method", "place", "body"), CALLS)
def test_a_call_without_the_password_is_refused(served: Settings, method: str, place: str, body: object) -> None:
    for login in (None, ("searchflow", ""), ("searchflow", "guess"), ("", prefect.login(served)[1])):
        answer = httpx.request(method, f"{served.prefect_api_url}{place}", json=body, auth=login)
        assert answer.status_code == 401, (login, answer.text)
    answer = httpx.request(method, f"{served.prefect_api_url}{place}", json=body, auth=prefect.login(served))
    assert answer.is_success, answer.text


@pytest.mark.parametrize("place", SOCKETS)
def test_a_socket_without_the_password_hears_nothing(served: Settings, place: str) -> None:
    url = f"{served.prefect_api_url.replace('http', 'ws')}{place}"
    with pytest.raises(WebSocketException):
        hear(url, [], None)
    with pytest.raises(WebSocketException):
        hear(url, ["prefect"], "guess")
    assert json.loads(hear(url, ["prefect"], prefect.auth_string(served))) == {"type": "auth_success"}


def hear(url: str, protocols: list[str], token: str | None) -> str:
    """The first thing that a socket says to a client which gives this token."""
    with connect_now(url, subprotocols=protocols or None) as socket:  # type: ignore[arg-type]
        if token is not None:
            socket.send(json.dumps({"type": "auth", "token": token}))
        return str(socket.recv(timeout=5))


@pytest.mark.parametrize(
    ("origin", "may"),
    [("own", True), ("https://evil.example", False), ("http://127.0.0.1:1", False), ("null", False)],
)
def test_only_its_own_pages_may_read_answers(served: Settings, origin: str, may: bool) -> None:
    own = served.prefect_api_url.removesuffix("/api")
    asked = {"Origin": own if origin == "own" else origin, "Access-Control-Request-Method": "POST"}
    answer = httpx.options(f"{served.prefect_api_url}/flows/filter", headers=asked)
    assert (answer.headers.get("access-control-allow-origin") == asked["Origin"]) is may
    assert answer.headers.get("access-control-allow-origin") != "*"


def test_the_password_is_in_no_process_list_no_log_and_no_open_file(served: Settings) -> None:
    password = prefect.login(served)[1]
    assert len(password) >= 32
    lists = [" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])]
    assert not [line for line in lists if password in line]
    record = process.running(served, prefect.NAME)
    assert record is not None
    assert psutil.Process(record.pid).environ()["PREFECT_SERVER_API_AUTH_STRING"].endswith(password)
    kept = {
        path.relative_to(served.home)
        for path in served.home.rglob("*")
        if path.is_file() and not path.is_symlink() and password.encode() in path.read_bytes()
    }
    assert {str(path) for path in kept} == {"keys/prefect"}
    assert (served.home / "keys" / "prefect").stat().st_mode & 0o077 == 0
    assert (served.home / "keys").stat().st_mode & 0o077 == 0


def test_people_and_prefect_itself_have_a_way_in(served: Settings) -> None:
    cli = CommandLine(served.home, {"SEARCHFLOW_PREFECT_PORT": str(served.prefect_port)})
    shown = cli.json("login")
    assert shown == {
        "address": f"http://127.0.0.1:{served.prefect_port}",
        "password": f"searchflow:{keys.prefect_password(served)}",
    }
    assert httpx.get(f"{shown['address']}/ui-settings").json()["auth"] == "BASIC"  # the page asks for it
    assert cli.run("prefect", "deployment", "ls").returncode == 0


def test_who_approves_is_never_a_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    for flow in (activation.activate, activation.undo):
        assert "by" not in inspect.signature(flow.fn).parameters
    known = actor.user()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "the-director")
    assert actor.user() == known
    assert os.getuid() != 0 or known == "root"
