"""The check of where notices and HTTP syncs may go: not to this machine or link-local addresses, unless a setting allows it.

A service on loopback trusts its callers, and a cloud's link-local address hands out credentials. An address in a
configuration must not make us call either. A name is resolved each time before something is sent, and the result counts.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from searchflow.settings import Settings

VARIABLE = "SEARCHFLOW_LOCAL_TARGETS"


def refused(settings: Settings, url: str) -> str:
    """Return why nothing may be sent to an address, or an empty text when sending is allowed.

    The text does not name the address, which may hold a secret.
    """
    if settings.local_targets:
        return ""
    for address in _addresses(url):
        if is_local(address):
            return f"its host is this machine or a link-local address ({address}), and {VARIABLE} is not set"
    return ""


def is_local(text: str) -> bool:
    """Return True for an address that means this machine or its own link, also when an IPv6 address carries it."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour
        if carried is not None:
            address = carried
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast


def _addresses(url: str) -> list[str]:
    """Return the addresses that the host of a URL resolves to now.

    The list is empty when the host does not resolve: the request itself will report that.
    """
    try:
        parts = urlsplit(url)
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return []
    return sorted({str(each[4][0]) for each in found})
