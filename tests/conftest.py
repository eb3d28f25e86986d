"""Fixtures that start real servers in temporary folders, and stop what they started."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Tests never read or write the repository's .env, and nothing phones home.
os.environ["SEARCHFLOW_ENV_FILE"] = ""
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
for name in [name for name in os.environ if name.startswith("SEARCHFLOW_") and name != "SEARCHFLOW_ENV_FILE"]:
    del os.environ[name]
os.environ["SEARCHFLOW_LOCAL_TARGETS"] = "true"  # receivers of tests are on loopback

from searchflow import lifecycle  # noqa: E402
from searchflow.garbage import collect_rarely  # noqa: E402
from searchflow.services import valkey  # noqa: E402
from searchflow.settings import Settings, load_settings  # noqa: E402
from tests import clusters, order  # noqa: E402
from tests.failures import AtOnce  # noqa: E402

_numbers = itertools.count(1)
collect_rarely()
# Histories that the properties of the models are tried on: `make test-long` asks for the thorough profile.
hypothesis.settings.register_profile("few", max_examples=15, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=600, deadline=None)
hypothesis.settings.load_profile("few")


def pytest_configure(config: pytest.Config) -> None:
    """Tell failures at once, in the process that reports; it keeps what the workers share."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(AtOnce(config))
        clusters.open_folder()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave no folder behind."""
    if not hasattr(config, "workerinput"):
        clusters.remove_folder()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first, so that no worker has one to itself at the end."""
    order.slowest_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> order.WholeHomes | None:
    """Hand out files in that order."""
    return order.WholeHomes(config, log) if config.getoption("dist") == "loadfile" else None


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A short path: sockets have little room for one. What still runs in it at the end is stopped, also after a failure."""
    folder = Path(tempfile.mkdtemp(prefix="sf-"))
    try:
        yield folder
    finally:
        if (folder / "run").exists():
            lifecycle.stop_all(load_settings(home=folder))
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_platform() -> Iterator[Settings]:
    with temporary_home() as home:
        settings = load_settings(home=home)
        clusters.start(settings)
        yield settings


@pytest.fixture(scope="session")
def platform() -> Iterator[Settings]:
    """One running home for all tests of a session that can share it."""
    with running_platform() as settings:
        yield settings


@pytest.fixture
def fresh_platform(platform: Settings) -> Iterator[Settings]:
    """An empty platform of its own on the session's servers: other databases, an empty stream server, a new home."""
    with temporary_home() as home:
        with valkey.client(platform) as client:
            client.flushall()
        settings = clusters.beside(platform, home, f"t{next(_numbers)}_")
        clusters.start_beside(platform, settings)
        yield settings
        lifecycle.stop_all(settings)


@pytest.fixture
def own_servers() -> Iterator[Settings]:
    """A running home with servers of its own, for tests that kill them."""
    with running_platform() as settings:
        yield settings


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty folder for a home; nothing runs in it yet."""
    with temporary_home() as folder:
        yield folder
