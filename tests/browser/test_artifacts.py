"""Tables that flows leave in Prefect, opened in its own pages: what came from outside stays text there."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from searchflow import markdown
from searchflow.services import prefect
from searchflow.settings import Settings
from tests.browser.conftest import free_port
from tests.prefect_api import call
from tests.privacy.hostile import HOSTILE

pytestmark = [pytest.mark.browser, pytest.mark.integration]


def test_the_examples_hold() -> None:
    assert doctest.testmod(markdown).failed == 0


@pytest.fixture
def served(showroom: Settings) -> Iterator[Settings]:
    """The showroom with a Prefect server, which its pages do not know of."""
    settings = showroom.model_copy(update={"prefect_port": free_port()})
    prefect.start(settings)
    yield settings
    prefect.stop(settings)


def leave(settings: Settings, rows: list[dict[str, str]]) -> None:
    from prefect import flow  # not before it is needed: the import takes hold of logging and warnings
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    from flows.support import table_artifact

    ours = {PREFECT_API_URL: settings.prefect_api_url, PREFECT_API_AUTH_STRING: prefect.auth_string(settings)}
    with temporary_settings(ours):
        flow(table_artifact)("hostile", rows, "Rows")


OF_PREFECT = "https://app.prefect.cloud/auth/sign-up?"
"""Where a notice of Prefect's own pages leads, which comes once a person has logged in."""


def log_in(page: Any, password: str) -> None:
    """Do what `searchflow login` tells people to do: paste the password into the page."""
    page.locator("input").first.fill(password)
    page.keyboard.press("Enter")


def test_hostile_texts_in_a_table_neither_link_load_nor_run(browser: Any, served: Settings) -> None:
    rows = [{"name": name, text: "a column", "text": text} for name, text in HOSTILE.items()]
    with ThreadPoolExecutor(1) as elsewhere:  # the browser keeps an event loop running in this thread
        elsewhere.submit(leave, served, rows).result()
    newest = {"sort": "CREATED_DESC", "limit": 1, "artifacts": {"key": {"any_": ["hostile"]}}}
    answer = call(served, "/artifacts/filter", newest)
    [made] = answer.raise_for_status().json()
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    own = served.prefect_api_url.removesuffix("/api")
    page.goto(f"{own}/artifacts/artifact/{made['id']}")
    log_in(page, prefect.auth_string(served))
    page.get_by_text("DROP TABLE raw.search_events").first.wait_for()
    assert page.evaluate("window.hacked") is None
    leading = page.evaluate("[...document.querySelectorAll('a[href], img[src]')].map(each => each.href || each.src)")
    assert [link for link in leading if not link.startswith((own, OF_PREFECT))] == []
    assert [url for url in asked if "evil" in url] == []
    assert "[go](javascript:window.hacked=1) ![x](http://evil.example/x.png)" in page.inner_text("body")
    page.close()
