"""Dashboards over the marts of ten million events, in a real browser: a page's first complete render, and a filter change.

The server is warm; each first render is by a visitor whose browser has never been here (no script is cached). A page is
complete when the server has answered, no placeholder is left, and every chart and table is drawn. Beside it, a visitor
who was here before. The marts are made by `benchmarks/marts.py`: real row counts, meaningless numbers.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import marts
from benchmarks.report import Figure, Options, Report
from benchmarks.support import machine, platform
from searchflow.errors import ServiceError
from searchflow.settings import ROOT, Settings

PAGES = ("", "funnel", "attribution", "segments", "operations", "catalog")
FILTERED = {"": "country", "funnel": "country", "attribution": "channel", "segments": "country"}
"""Page -> the filter that is changed there."""
RENDER_SECONDS, CHANGE_SECONDS = 2.0, 1.0
VISITS, CHANGES = 3, 5
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)
# Runs in the page: resolves with the moment at which everything has been complete for two frames.
COMPLETE = """() => new Promise((resolve, reject) => {
    let calm = 0, since = 0
    const began = performance.now()
    const look = () => {
        if (performance.now() - began > 60000) return reject(new Error('the page was not complete after a minute'))
        const app = document.querySelector('[data-testid=stApp]')
        const done = app && app.getAttribute('data-test-script-state') === 'notRunning'
            && document.querySelector('[data-testid=stMain] h1')
            && !document.querySelector('[data-testid=stSkeleton], [data-stale=true], [data-testid=stSpinner]')
            && ![...document.querySelectorAll('[data-testid=stEChartsChart]')].some(
                chart => chart.getAttribute('aria-busy') === 'true' || !chart.querySelector('canvas, svg'))
            && ![...document.querySelectorAll('[data-testid=stDataFrame]')].some(table => !table.querySelector('canvas'))
        if (!done) calm = 0
        else if (calm++ === 0) since = performance.now()
        else if (calm > 2) return resolve(since)
        requestAnimationFrame(look)
    }
    look()
})"""


def run(options: Options) -> Report:
    """Fill the marts, serve them, and visit every page several times."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise ServiceError("This benchmark needs Playwright. Run `make install`, which installs it.") from None
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise ServiceError("This benchmark needs Chromium. Install it, for example with `apt-get install chromium`.")
    with platform(options) as settings:
        options.progress("making the marts")
        rows = marts.fill(settings, datetime.now(UTC), options.size)
        with _served(settings) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
            measured = _visits(browser, address, options)
            browser.close()
    return _report(options, rows, measured)


@contextmanager
def _served(settings: Settings) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = dict(os.environ) | {"SEARCHFLOW_HOME": str(settings.home), "SEARCHFLOW_ENV_FILE": ""}
    log = settings.logs_dir / "dashboards.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "dashboards", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        yield _answering(f"http://127.0.0.1:{port}", server, log)
    finally:
        server.terminate()
        server.wait(20)


def _answering(address: str, server: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(300):
        if server.poll() is not None:
            raise ServiceError(f"The dashboards did not start: {log.read_text()[-300:]}. Run `searchflow dashboards`.")
        try:
            with urllib.request.urlopen(f"{address}/healthz", timeout=5):  # noqa: S310 (loopback)
                return address
        except OSError:
            time.sleep(0.2)
    raise ServiceError("The dashboards did not answer within a minute. Run `searchflow dashboards`.")


def _visits(browser: Any, address: str, options: Options) -> dict[str, dict[str, list[float]]]:
    """Return page -> first, again and change -> seconds. A round that is not counted warms the server's answers."""
    found: dict[str, dict[str, list[float]]] = {page: {"first": [], "again": [], "change": []} for page in PAGES}
    visits, changes = options.scaled(VISITS, least=1), options.scaled(CHANGES, least=1)
    for number in range(visits + 1):
        options.progress(f"visiting, round {number} of {visits}")
        for page in PAGES:
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            tab = context.new_page()
            first = _seconds_to_open(tab, f"{address}/{page}")
            again = _seconds_to_open(tab, f"{address}/{page}")
            if number:
                found[page]["first"].append(first)
                found[page]["again"].append(again)
            if number == visits and page in FILTERED:
                found[page]["change"] = [
                    _seconds_to_change(tab, f"{address}/{page}", FILTERED[page], place) for place in range(changes)
                ]
            context.close()
    return found


def _seconds_to_open(tab: Any, address: str) -> float:
    """Return the seconds from the navigation's start, as the browser counts it, until the page is complete."""
    tab.goto(address, wait_until="commit")
    tab.wait_for_selector("[data-testid=stApp]")
    return float(tab.evaluate(COMPLETE)) / 1000


def _seconds_to_change(tab: Any, address: str, key: str, place: int) -> float:
    """Return the seconds from the click on a value until the page is complete with it. Each value is a question not
    asked before."""
    _seconds_to_open(tab, address)
    box = tab.locator(f".st-key-{key}")
    box.get_by_role("combobox").click()
    option = tab.get_by_role("option").nth(place)
    option.wait_for()
    began = float(tab.evaluate("performance.now()"))
    option.click()
    tab.wait_for_function("document.querySelector('[data-testid=stApp]').dataset.testScriptState !== 'notRunning'")
    ended = float(tab.evaluate(COMPLETE))
    return (ended - began) / 1000


def _report(options: Options, rows: dict[str, int], measured: dict[str, dict[str, list[float]]]) -> Report:
    """Return the report. Each page is held to the limit by itself: a fast one does not make up for a slow one."""
    figures = []
    for kind, name, limit in (
        ("first", "first complete render", RENDER_SECONDS),
        ("again", "render with known scripts", None),
        ("change", "filter change", CHANGE_SECONDS),
    ):
        for page, times in measured.items():
            if times[kind]:
                median = statistics.median(times[kind])
                met = median <= limit if limit is not None and options.judges else None
                target = f"median at most {limit:.0f} s" if limit is not None else ""
                figures.append(Figure(f"{name}, {page or 'overview'}", round(median, 2), "s", target=target, met=met))
    return Report("dashboards", (__doc__ or "").partition("\n")[0], figures, machine() | {"rows": rows})
