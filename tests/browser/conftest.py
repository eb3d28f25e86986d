"""The dashboards as they are served, in Debian's Chromium. Skipped, with the reason, where there is none."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dashboards import command
from searchflow.settings import ROOT, Settings
from tests.dashboards.showroom import opened

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="session")
def showroom() -> Iterator[Settings]:
    """Its marts, for all browser tests."""
    with opened() as settings:
        yield settings


@pytest.fixture(scope="session")
def address(showroom: Settings) -> Iterator[str]:
    """The showroom, served by the command that `searchflow up` uses."""
    with served(showroom) as found:
        yield found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def served(settings: Settings, port: int | None = None, **environment: str) -> Iterator[str]:
    """The dashboards in a process of their own, with more of its environment set."""
    chosen = settings.model_copy(update={"dashboards_port": port or free_port()})
    log = settings.logs_dir / f"dashboards-{chosen.dashboards_port}.log"
    given = dict(os.environ) | {"SEARCHFLOW_HOME": str(settings.home), "SEARCHFLOW_ENV_FILE": ""}
    given |= {"SEARCHFLOW_PREFECT_PORT": str(settings.prefect_port)} | environment
    with log.open("wb") as output:
        server = subprocess.Popen(command(chosen), env=given, cwd=ROOT, stdout=output, stderr=output)
    try:
        yield _ready(f"http://127.0.0.1:{chosen.dashboards_port}", server, log)
    finally:
        server.terminate()
        server.wait(20)
        print(log.read_text())  # pytest shows it when a test fails


def _ready(url: str, server: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(300):
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=5) as answer:
                assert json.load(answer)["warehouse"].startswith("up")
                return url
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the dashboards did not answer: {log.read_text()}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium a module. Playwright keeps an event loop running in this thread: tests after these must not find one."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: run `make install`.")
    if not CHROMIUM.exists():
        pytest.skip(f"There is no Chromium at {CHROMIUM}: `apt-get install chromium` puts one there.")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


class Visitor:
    """A tab that notes what must not happen: console errors, failed requests, requests to elsewhere."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.address = address
        self.also_allowed = address
        self.context = browser.new_context(**({"viewport": {"width": 1360, "height": 900}} | options))
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.complaints: list[str] = []
        self.page.on("console", self._console)
        self.page.on("request", self._request)
        self.page.on("response", self._response)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script error: {error}"))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"a dialog opened: {dialog.message}"))

    def open(self, path: str = "") -> None:
        """Go there and wait until the page is complete."""
        self.page.goto(f"{self.address}/{path}")
        self.settled()

    def turn_to(self, title: str) -> None:
        """Choose a page in the navigation."""
        self.page.get_by_test_id("stSidebarNav").get_by_text(title, exact=True).click()
        self.page.get_by_role("heading", level=1, name=title).wait_for()
        self.settled()

    def settled(self) -> None:
        """The script has ended and every chart is drawn."""
        self.page.get_by_role("heading", level=1).wait_for()
        self.page.wait_for_function(
            "document.querySelector('[data-testid=stApp]').getAttribute('data-test-script-state') === 'notRunning'"
        )
        self.page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')")

    def figure(self, name: str) -> str:
        """The number on one of the small tiles."""
        return self.page.locator(f".st-key-tile-{name}-figure [data-testid=stMetricValue]").inner_text()

    def text(self) -> str:
        """What can be read on the page."""
        return " ".join(self.page.get_by_test_id("stMain").inner_text().split())

    def close(self) -> None:
        self.context.close()

    def _console(self, message: Any) -> None:
        # At an inner address, Streamlit's client first asks below that address and is told 404 (see _response).
        if message.type == "error" and "404 (Not Found)" not in message.text:
            self.complaints.append(f"console: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith(
            (self.address, self.address.replace("http", "ws"), self.also_allowed, "data:", "blob:")
        ):
            self.complaints.append(f"outside: {request.url}")

    def _response(self, response: Any) -> None:
        if response.status >= 400 and "/_stcore/" not in response.url:
            self.complaints.append(f"{response.status}: {response.url}")


@pytest.fixture
def visitor(browser: Any, address: str) -> Iterator[Visitor]:
    """A fresh tab; at the end nothing must have gone wrong in it."""
    tab = Visitor(browser, address)
    yield tab
    complaints = tab.complaints
    tab.close()
    assert complaints == []
