"""A running home of these tests' own, emptied before each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from searchflow import lifecycle
from searchflow.settings import Settings, load_settings
from tests import clusters
from tests.activations.post import Post, Recorder, free_port, serving
from tests.activations.scene import Scene
from tests.commands import CommandLine
from tests.conftest import temporary_home


@pytest.fixture(scope="session")
def activation_home() -> Iterator[Settings]:
    """Not the shared `platform`: other tests' models would stand where ours do."""
    home = Path(tempfile.mkdtemp(prefix="sf-"))
    settings = load_settings(home=home)
    try:
        clusters.start(settings)
        yield settings
    finally:
        lifecycle.stop_all(settings)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def _scene(activation_home: Settings) -> Iterator[Scene]:
    scene = Scene(activation_home)
    yield scene
    scene.close()


@pytest.fixture
def scene(_scene: Scene) -> Scene:
    """An empty scene."""
    _scene.clear()
    return _scene


@pytest.fixture
def post(scene: Scene) -> Iterator[Post]:
    """An empty scene with a mail server that takes everything."""
    recorder, port = Recorder(), free_port()
    controller = serving(recorder, port)
    try:
        yield Post(scene, recorder, port)
    finally:
        controller.stop()


@pytest.fixture(scope="session")
def company() -> Iterator[CommandLine]:
    """A simulated company of four days in a home of its own, from its events to its destinations."""
    with temporary_home() as home:
        line = CommandLine(home)
        clusters.give(line.settings, migrated=True)
        line.json("demo", "--days", "4", "--events", "4000", "--seed", "7")
        yield line
