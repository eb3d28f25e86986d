"""The showroom's home, and pages run without a browser."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pytest
from streamlit.testing.v1 import AppTest

from dashboards import source
from dashboards.server import SCRIPT
from searchflow import warehouse
from searchflow.settings import Settings
from tests.dashboards.showroom import opened

Open = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """AppTest puts the page in the place of `__main__`, and a process spawned by a later test would run it."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(scope="session")
def showroom() -> Iterator[Settings]:
    """Not the shared `platform`: other tests' models would stand where these tables do."""
    with opened() as settings:
        yield settings


@pytest.fixture
def lake(showroom: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """To ask the same in SQL."""
    with warehouse.connect(showroom) as connection:
        yield connection


@pytest.fixture
def pages(showroom: Settings) -> Iterator[Open]:
    """`pages(country="Canada")` opens the front page with these values in its URL, `pages("funnel")` another page."""
    source.configure(showroom)
    yield open_page
    source.configure(None)


def open_page(name: str = "overview", **url: str | list[str]) -> AppTest:
    app = AppTest.from_file(str(SCRIPT), default_timeout=60)
    app.query_params.update(url)
    app.run()
    if name != "overview":
        app.switch_page(f"../pages/{name}.py").run()
    assert not app.exception, app.exception
    return app


def metrics(app: AppTest) -> dict[str, Any]:
    """Label -> the tile."""
    return {metric.label: metric for metric in app.metric}
