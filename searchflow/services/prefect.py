"""The Prefect server: its database is in our PostgreSQL, and its API and UI are on loopback behind a password. It makes
no calls to other servers.

The settings below are for a small machine; docs/reference/prefect.md says why each is there.
"""

from __future__ import annotations

import os
import signal
import sys
import urllib.error
import urllib.request

from searchflow import keys
from searchflow.errors import ServiceError
from searchflow.services import ports, postgres, process
from searchflow.settings import ROOT, Settings

NAME = "prefect-server"
START_SECONDS = 120
"""Seconds to wait for a start. The first start makes Prefect's tables, which takes about ten seconds on two cores."""
USER = "searchflow"


def login(settings: Settings) -> tuple[str, str]:
    """Return the name and password that the API of this home's server asks for, as an HTTP client takes them."""
    return USER, keys.prefect_password(settings)


def auth_string(settings: Settings) -> str:
    """Return the login as Prefect takes it, in its variables and in the field of its login page."""
    return ":".join(login(settings))


def client_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that a process needs so that its flows report to our server."""
    return {
        "PREFECT_API_URL": settings.prefect_api_url,
        "PREFECT_API_AUTH_STRING": auth_string(settings),  # in the environment, which no other account can read
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",  # without our server a flow fails: it starts no second one
        "DO_NOT_TRACK": "1",
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",  # seconds until a scheduled or triggered run is seen
    }


def _server_environment(settings: Settings) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return inherited | {
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_API_DATABASE_CONNECTION_URL": postgres.async_url(settings, "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_UI_API_URL": settings.prefect_api_url,
        "PREFECT_SERVER_API_AUTH_STRING": auth_string(settings),
        "PREFECT_API_AUTH_STRING": auth_string(settings),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(_own_origins(settings)),
        "DO_NOT_TRACK": "1",
        # one transaction for many task events, not one each
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    }


def _own_origins(settings: Settings) -> list[str]:
    """Return where the server's own pages come from: no page of another site may read what the API answers."""
    return [f"http://{host}:{settings.prefect_port}" for host in (ports.LOOPBACK, "localhost")]


def healthy(settings: Settings, *, timeout: float = 5.0) -> bool:
    """Return True when the process on our port is the one that this home started, and its API answers."""
    return ports.listener(settings, NAME) == "ours" and _answers(settings, timeout)


def state(settings: Settings) -> str:
    """Return `up`, or why the server is not up, in words."""
    whose = ports.listener(settings, NAME)
    if whose == "ours":
        return "up" if _answers(settings, 5.0) else "does not answer"
    if whose == "another program":
        return f"down; port {settings.prefect_port} belongs to another program"
    return "down" if process.running(settings, NAME) is None else "starting"


def require(settings: Settings) -> None:
    """Check that the server of this home answers, without starting anything.

    Raises:
        ServiceError: it does not.
    """
    said = state(settings)
    if said != "up":
        raise ServiceError(f"The Prefect server of {settings.home} is not up ({said}). Run `searchflow up`.")


def _answers(settings: Settings, timeout: float) -> bool:
    try:
        with urllib.request.urlopen(f"{settings.prefect_api_url}/health", timeout=timeout) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def launch(settings: Settings, say: ports.Say = lambda _: None) -> Settings:
    """Begin to start the server without waiting for it; `wait` waits. It does nothing when the server runs. Return the
    settings with the server's port.

    Raises:
        PortInUseError: a person chose the port, and it belongs to another program.
    """
    settings = ports.settle(settings, NAME, say)
    if process.running(settings, NAME) is not None:
        return settings
    (settings.home / "prefect").mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "prefect", "server", "start"),
        *("--host", ports.LOOPBACK, "--port", str(settings.prefect_port)),
    ]
    ports.keep(settings, NAME)
    process.spawn(settings, NAME, command, env=_server_environment(settings), cwd=ROOT)
    return settings


def wait(settings: Settings) -> None:
    """Wait until the server answers its API.

    Raises:
        ServiceError: it ended, or did not answer within `START_SECONDS`.
    """

    def alive() -> bool:
        return process.running(settings, NAME) is not None

    if process.wait_until(lambda: healthy(settings), seconds=START_SECONDS, alive=alive, pause=0.2):
        return
    if alive():
        raise ServiceError(
            f"The Prefect server did not answer within {START_SECONDS} s. Read {settings.logs_dir / (NAME + '.log')}, "
            "then run `searchflow down` and try again."
        )
    raise process.failed_start(settings, NAME)


def start(settings: Settings, say: ports.Say = lambda _: None) -> Settings:
    """Start the server and wait until it answers. Return the settings with the port that it has."""
    settings = launch(settings, say)
    wait(settings)
    return settings


def stop(settings: Settings) -> bool:
    """Stop the server. Its runs stay in the database."""
    return process.stop(settings, NAME, signal=signal.SIGTERM)
