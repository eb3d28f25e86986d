"""Ports: the next free one when another program has ours, kept in the home, and never taken for ours when it is not."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from searchflow import status
from searchflow.errors import PortInUseError, ServiceError
from searchflow.services import ports, prefect, process
from searchflow.settings import ROOT, Settings, load_settings
from tests.commands import free_port
from tests.conftest import temporary_home

LISTEN = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(100)"


class Healthy(http.server.BaseHTTPRequestHandler):
    """Answers 200 to everything, as another home's Prefect would to `/api/health`."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@contextmanager
def another_program(port: int = 0) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Healthy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A home whose ports were not chosen; the defaults are free ones, as those of other homes may be taken here."""
    with temporary_home() as home:
        for name in ("prefect_port", "dashboards_port"):
            monkeypatch.setattr(Settings.model_fields[name], "default", free_port())
        Settings.model_rebuild(force=True)
        try:
            made = load_settings(home=home)
            process.prepare_home(made)
            yield made
        finally:
            for name in process.recorded(load_settings(home=home)):
                process.stop(load_settings(home=home), name, signal=15)
            monkeypatch.undo()
            Settings.model_rebuild(force=True)


def test_a_taken_port_gives_the_next_free_one_which_is_said_and_kept(settings: Settings) -> None:
    said: list[str] = []
    with ExitStack() as held:
        held.enter_context(another_program(settings.prefect_port))
        chosen = ports.settle(settings, prefect.NAME, said.append)
        assert chosen.prefect_port > settings.prefect_port
        [line] = said
        assert str(settings.prefect_port) in line
        assert str(chosen.prefect_port) in line
        ports.keep(chosen, prefect.NAME)
    later = load_settings(home=settings.home)
    assert later.prefect_port == chosen.prefect_port
    assert later.prefect_api_url == f"http://127.0.0.1:{chosen.prefect_port}/api"
    assert (
        ports.settle(later, prefect.NAME, said.append).prefect_port == chosen.prefect_port
    )  # also when the first is free
    assert len(said) == 1


def test_two_servers_of_a_home_do_not_get_the_same_port(settings: Settings) -> None:
    beside = settings.model_copy(update={"dashboards_port": settings.prefect_port + 1})
    with another_program(settings.prefect_port):
        assert (
            ports.settle(load_settings(home=settings.home), prefect.NAME, print).prefect_port != settings.prefect_port
        )
        unchosen = beside.model_copy()
        unchosen.model_fields_set.discard("prefect_port")
        assert ports.settle(unchosen, prefect.NAME, print).prefect_port not in (
            settings.prefect_port,
            beside.dashboards_port,
        )


def test_a_port_that_a_person_chose_is_kept_to(settings: Settings) -> None:
    with another_program() as taken:
        chosen = load_settings(home=settings.home, prefect_port=taken)
        with pytest.raises(PortInUseError, match="SEARCHFLOW_PREFECT_PORT"):
            ports.settle(chosen, prefect.NAME, print)


def test_a_server_of_another_program_is_not_ours(settings: Settings) -> None:
    with another_program(settings.prefect_port):
        assert not prefect.healthy(settings)
        assert "another program" in prefect.state(settings)
        with pytest.raises(ServiceError, match="searchflow up"):
            prefect.require(settings)
        process.spawn(settings, prefect.NAME, [sys.executable, "-c", "import time; time.sleep(100)"])
        assert not prefect.healthy(settings)  # our process runs, and another one answers
    with another_program(settings.dashboards_port):
        assert status._background(settings, "dashboards") == "not running"
        process.spawn(settings, "dashboards", [sys.executable, "-c", "import time; time.sleep(100)"])
        assert "another program" in status._background(settings, "dashboards")
    assert status._background(settings, "dashboards") == "starting"


def test_a_server_whose_parent_still_runs_can_be_stopped(settings: Settings) -> None:
    """A follower that started the servers lives on, and does not ask how they ended."""
    code = (
        "import sys, time; from searchflow.services import process; from searchflow.settings import load_settings; "
        "settings = load_settings(home=sys.argv[1]); process.spawn(settings, 'sleeper', ['sleep', '100']); time.sleep(100)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(settings.home)], cwd=ROOT) as parent:
        try:
            started = process.wait_until(
                lambda: process.running(settings, "sleeper") is not None, seconds=60, alive=lambda: True
            )
            assert started
            assert process.stop(settings, "sleeper", signal=15, patience=5)
            assert process.running(settings, "sleeper") is None
        finally:
            parent.kill()


def test_the_server_that_we_started_is_ours_wherever_it_listens(settings: Settings) -> None:
    port = free_port()
    process.spawn(settings, "dashboards", [sys.executable, "-c", LISTEN, str(port)])
    ports.keep(settings.model_copy(update={"dashboards_port": port}), "dashboards")
    later = load_settings(home=settings.home)
    assert process.wait_until(lambda: ports.listener(later, "dashboards") == "ours", seconds=60, alive=lambda: True)
    assert status._background(later, "dashboards") == "up"
    assert ports.settle(later, "dashboards", print).dashboards_port == port
    with pytest.raises(ServiceError, match="searchflow down"):
        ports.settle(load_settings(home=settings.home, dashboards_port=port + 1), "dashboards", print)
