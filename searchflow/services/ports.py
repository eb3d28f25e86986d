"""Loopback ports: SearchFlow takes the wanted port or the next free one, remembers it in the home, and tells whose a
port is.

A port that a person chose (SEARCHFLOW_PREFECT_PORT and the like) is kept to: when it is taken, that is an error.
Otherwise the next free one is used, and every later command finds it in `run/<server>.port`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import psutil

from searchflow.errors import PortInUseError, ServiceError
from searchflow.services import process
from searchflow.settings import KEPT_PORTS, Settings, kept_port, with_ports

LOOPBACK = "127.0.0.1"
TRIES = 100
TITLES = {"prefect-server": "Prefect server", "dashboards": "dashboards"}
Say = Callable[[str], None]


def free(port: int) -> bool:
    """Return True when we could listen on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        if probe.connect_ex((LOOPBACK, port)) == 0:
            return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port that was just left is free
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def next_free(port: int, *, taken: frozenset[int] = frozenset()) -> int:
    """Return the first free port from `port` on.

    Raises:
        ServiceError: there is none among the next hundred.
    """
    for candidate in range(port, min(port + TRIES, 65536)):
        if candidate not in taken and free(candidate):
            return candidate
    raise ServiceError(
        f"No port from {port} to {port + TRIES - 1} is free. Stop a program, or choose a port by a setting."
    )


def settle(settings: Settings, server: str, say: Say) -> Settings:
    """Return the settings with the port that `server` has, or is to be started on: the wanted one, or the next free
    one.

    Raises:
        PortInUseError: a person chose the port, and another program has it.
        ServiceError: the server runs on another port than a person now chose.
    """
    [name] = [name for name, known in KEPT_PORTS.items() if known == server]
    variable, wanted = f"SEARCHFLOW_{name.upper()}", int(getattr(settings, name))
    chosen = name in settings.model_fields_set
    if process.running(settings, server) is not None:
        port = kept_port(settings, server) or wanted
        if chosen and port != wanted:
            raise ServiceError(
                f"The {TITLES[server]} of this home listens on port {port}, and {variable} says {wanted}. "
                "Run `searchflow down` first, or unset the variable."
            )
        return with_ports(settings, {name: port})
    if chosen:
        if not free(wanted):
            raise PortInUseError(wanted, variable, TITLES[server])
        port = wanted
    else:
        others = {int(getattr(settings, other)) for other in KEPT_PORTS if other != name}
        port = next_free(wanted, taken=frozenset(others))
    if port != wanted:
        say(f"port {wanted} is taken by another program; port {port} is for the {TITLES[server]} of this home")
    return with_ports(settings, {name: port})


def keep(settings: Settings, server: str) -> None:
    """Remember the port that `server` is started on, for every later command."""
    [name] = [name for name, known in KEPT_PORTS.items() if known == server]
    path = settings.run_dir / f"{server}.port"
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(f"{getattr(settings, name)}\n")
    partial.replace(path)


def listener(settings: Settings, server: str) -> str:
    """Return whose the server's port is: `ours`, `another program`, or `nobody` when it is free.

    Only our own recorded process and what it started are asked about: no other process needs to be looked into.
    """
    [name] = [name for name, known in KEPT_PORTS.items() if known == server]
    port = int(getattr(settings, name))
    entry = process.running(settings, server)
    if entry is not None and _listens(entry.pid, port):
        return "ours"
    return "nobody" if free(port) else "another program"


def _listens(pid: int, port: int) -> bool:
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return False
    return any(_has_port(each, port) for each in family)


def _has_port(each: psutil.Process, port: int) -> bool:
    try:
        found = each.net_connections(kind="tcp")
    except psutil.Error:
        return False
    return any(link.status == psutil.CONN_LISTEN and link.laddr and link.laddr.port == port for link in found)
