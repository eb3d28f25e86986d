"""Where notices and HTTP syncs may go: not to this machine, and not to link-local addresses, unless a setting allows it.

A service on loopback trusts who asks it, and a cloud's link-local address hands out credentials: an address in a
configuration must not make us ask either. What a name resolves to counts, each time before something is sent.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from searchflow.settings import Settings

VARIABLE = "SEARCHFLOW_LOCAL_TARGETS"


def refused(settings: Settings, url: str) -> str:
    """Why nothing may be sent to an address, without naming it (it may hold a secret); empty when it may."""
    if settings.local_targets:
        return ""
    for address in _addresses(url):
        if is_local(address):
            return f"its host is this machine or a link-local address ({address}), and {VARIABLE} is not set"
    return ""


def is_local(text: str) -> bool:
    """True for an address that means this machine or its own link, also when IPv6 carries it."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour
        if carried is not None:
            address = carried
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast


def _addresses(url: str) -> list[str]:
    """What the host of an address resolves to now; nothing when it does not: the request itself will say so."""
    try:
        parts = urlsplit(url)
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return []
    return sorted({str(each[4][0]) for each in found})
