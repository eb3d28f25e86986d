"""Internet addresses with letters beyond ASCII: one spelling for sending and for comparing.

Domains are encoded by IDNA 2008 (package `idna`, with the mapping of UTS 46 for case and width). Python's own codec
`idna` is IDNA 2003, which turns ß into ss and so sends to another domain. What IDNA 2008 does not allow is refused.
"""

from __future__ import annotations

import idna


class NoDomain(ValueError):
    """The error for a domain that IDNA 2008 does not allow."""


def ascii_domain(domain: str) -> str:
    """Return a domain as it goes over the wire. A domain that is ASCII already stays as it is.

    Raises:
        NoDomain: IDNA 2008 does not allow it.
    """
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise NoDomain("the domain is not one that IDNA 2008 allows") from None


def ascii_address(address: str) -> str:
    """Return an e-mail address with its domain as it goes over the wire; the part before the @ stays as it is.

    Raises:
        NoDomain: IDNA 2008 does not allow its domain.
    """
    user, at, domain = address.rpartition("@")
    return f"{user}{at}{ascii_domain(domain)}"


def comparable(address: str) -> str:
    """Return an e-mail address so that two spellings of one mailbox are equal, and two mailboxes are not.

    Surrounding spaces, case in ASCII and the spelling of the domain do not matter. Characters beyond ASCII before the @
    stay as they are: lower case and normal forms would turn some pairs of mailboxes into one (the kelvin sign, and k).

    Raises:
        NoDomain: IDNA 2008 does not allow its domain.
    """
    user, at, domain = address.strip().rpartition("@")
    return f"{user.lower() if user.isascii() else user}{at}{ascii_domain(domain).lower()}"
