"""Takes the pictures of README and docs: `python -m tests.browser.pictures http://127.0.0.1:8501 docs/images`.

Serve a demo's dashboards first (`searchflow demo`, then `searchflow dashboards`).
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.conftest import CHROMIUM, FLAGS, Visitor

PICTURES = {
    "dashboard-overview": ("", {}),
    "dashboard-overview-dark": ("", {"color_scheme": "dark"}),
    "dashboard-overview-phone": ("", {"viewport": {"width": 390, "height": 844}}),
    "dashboard-funnel": ("funnel", {}),
    "dashboard-attribution": ("attribution", {}),
    "dashboard-segments": ("segments", {}),
    "dashboard-operations": ("operations", {}),
    "dashboard-catalog": ("catalog?table=marts.dim_users&column=email", {}),
}
TALLEST = 1600


def take(address: str, folder: Path) -> None:
    """One picture a page, as tall as the page, within reason."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        for name, (path, options) in PICTURES.items():
            tab = Visitor(chromium, address, **options)
            tab.open(path)
            size = tab.page.viewport_size
            if size["width"] > 600:
                height = tab.page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
                tab.page.set_viewport_size({"width": size["width"], "height": min(int(height), TALLEST)})
            tab.page.wait_for_timeout(1500)  # charts draw themselves in
            tab.page.screenshot(path=folder / f"{name}.png")
            tab.close()
        chromium.close()


if __name__ == "__main__":
    take(sys.argv[1], Path(sys.argv[2]))
