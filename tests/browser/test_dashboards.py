"""Every page in a real browser: its title and numbers are there, nothing fails, nothing goes outside."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest

from tests.browser.conftest import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.integration]

PAGES = {
    "Executive overview": ["CA$4,790", "+14.0%", "a year ago"],
    "Search funnel": ["From search to booking", "196 clicks", "CA$4,760"],
    "Marketing attribution": ["CA$4,790", "CA$560.00", "The seven models side by side"],
    "User segments": ["High value", "25.0% of users", "Who moved where"],
    "Operations": ["received 12 = stored 9 + duplicates 1 + dead letters 2", "8 of 8"],
}


def test_every_page_shows_its_numbers_and_says_how_far_to_trust_them(visitor: Visitor) -> None:
    visitor.open()
    for title, expected in PAGES.items():
        visitor.turn_to(title)
        said = visitor.text()
        assert [words for words in [title, "Gate passed", *expected] if words not in said] == [], said
        visitor.page.locator("[data-testid=stEChartsChart] canvas, [data-testid=stEChartsChart] svg").first.wait_for()


def test_a_choice_is_in_the_address_and_the_address_is_the_choice(visitor: Visitor, browser: Any) -> None:
    visitor.open()
    visitor.page.locator(".st-key-country").get_by_role("combobox").click()
    visitor.page.get_by_role("option", name="Canada").click()
    visitor.page.get_by_text("CA$3,360").first.wait_for()
    visitor.page.keyboard.press("Escape")
    assert parse_qs(urlparse(visitor.page.url).query) == {"country": ["Canada"]}
    visitor.turn_to("Operations")  # has no filters
    visitor.turn_to("Search funnel")
    visitor.page.get_by_text("only Canada").wait_for()
    friend = Visitor(browser, visitor.address)
    friend.open(f"funnel?{urlparse(visitor.page.url).query}")
    assert "only Canada" in friend.text()
    assert "CA$3,360" in friend.text()
    friend.close()
    assert friend.complaints == []


def test_content_of_events_stays_text(visitor: Visitor) -> None:
    visitor.open()
    for title in ("Marketing attribution", "Search funnel"):
        visitor.turn_to(title)
        assert visitor.page.evaluate("window.hacked") is None
        assert visitor.page.locator("img[src=x]").count() == 0
        assert visitor.page.locator("a[href*='evil.example'], img[src*='evil.example']").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_every_page_without_scrolling_sideways(browser: Any, address: str, scheme: str) -> None:
    phone = Visitor(browser, address, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    for path in ("", "funnel", "operations"):
        phone.open(path)
        wide = phone.page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
        assert wide <= 390
    background = phone.page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 22, 29)"}[scheme]
    phone.close()
    assert phone.complaints == []
