"""The lineage page in a browser: found by a word, followed up and down, nothing asked of anybody, nothing executed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from activations.lineage import uses
from searchflow.transformation import bare
from searchflow.transformation.graph import Graph, Use, graph_of
from searchflow.transformation.page import write

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*")
HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def graph() -> Graph:
    hostile = Use(HOSTILE, "dashboard", HOSTILE, {HOSTILE: [("marts.dim_users", "email")]})
    return graph_of(bare.BareModels().context, [*uses(), hostile])


@pytest.fixture(scope="module")
def address(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(graph, tmp_path_factory.mktemp("page") / "lineage.html").as_uri()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A tab on the page; at the end nothing must have gone wrong in it."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("dialog", lambda dialog: complaints.append(dialog.message))
    tab.on("request", lambda request: complaints.append(request.url) if request.url.split("#")[0] != address else None)
    tab.goto(address)
    yield tab
    context.close()
    assert complaints == []


def shown(page: Any) -> set[str]:
    """The cards that can be seen, by their tables."""
    return set(page.locator(".card:visible h3").evaluate_all(HEADINGS))


HEADINGS = """cards => cards.map(
    card => [...card.childNodes].slice(0, -1).map(each => each.textContent).join("").trim())"""


def test_a_word_finds_columns_and_a_click_follows_one_from_raw_to_its_destination(page: Any) -> None:
    assert {"raw.search_events", "marts.dim_users", "crm.user_segments"} <= shown(page)
    page.get_by_role("searchbox").fill("email address")
    assert "marts.dim_users" in shown(page)
    assert "raw.ad_spend" not in shown(page)

    page.locator(".card", has_text="marts.dim_users").get_by_role("button", name="email").click()
    page.locator("#chosen h2", has_text="marts.dim_users.email").wait_for()
    assert page.locator("li.up:visible").count() == 2
    assert {"raw.user_profiles", "staging.stg_user_profiles", "searchflow:email:outbox"} <= shown(page)
    assert "raw.search_events" not in shown(page)
    assert "Personal data, from raw.user_profiles.email" in page.locator("#chosen").inner_text()
    assert page.locator("#lines path.up").count() == 2
    assert HOSTILE in shown(page)  # as text

    page.keyboard.press("Escape")
    assert "raw.search_events" in shown(page)


def test_only_personal_data_and_a_link_to_a_column(page: Any, address: str) -> None:
    page.get_by_label("personal data only").check()
    assert "marts.dim_users" in shown(page)
    assert "marts.mart_kpi_daily" not in shown(page)
    page.goto(f"{address}#marts.mart_campaign_attribution.roas")
    page.get_by_label("personal data only").uncheck()
    assert "payload $.booking_value" in page.locator(".card:visible", has_text="raw.conversion_events").inner_text()


def test_on_a_phone_the_lanes_stand_below_each_other(browser: Any, address: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    tab = context.new_page()
    tab.goto(f"{address}#marts.dim_users.email")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.locator("li.at:visible").count() == 1
    context.close()
