"""Optional login with an OpenID provider, by Streamlit's own means; configured by settings, off when there are none.

It guards the pages and the reports. `/healthz` and `/metrics` hold counts for machines: `dashboards.machine` says who may ask
for those.
"""

from __future__ import annotations

import json
from typing import Any

import streamlit as st
from starlette.requests import Request
from streamlit.web.server.server_util import AUTH_COOKIE_NAME
from streamlit.web.server.starlette.starlette_websocket import _get_signed_cookie_with_chunks

from searchflow import addresses, keys
from searchflow.errors import ConfigurationError
from searchflow.settings import Settings

NEEDED = ("oidc_metadata_url", "oidc_client_id", "oidc_client_secret")


def wanted(settings: Settings) -> bool:
    """Return whether a provider is configured.

    Raises:
        ConfigurationError: only a part of it is; names what is missing.
    """
    missing = [name for name in NEEDED if getattr(settings, name) is None]
    if len(missing) == len(NEEDED):
        return False
    if missing:
        raise ConfigurationError(
            f"SEARCHFLOW_{missing[0].upper()}", "is missing, and a login needs it.", f"Set all of {_listed()}, or none."
        )
    return True


def _listed() -> str:
    return ", ".join(f"SEARCHFLOW_{name.upper()}" for name in NEEDED)


def secrets(settings: Settings, address: str) -> dict[str, Any]:
    """Return what Streamlit needs for the login; `address` is where people find the dashboards."""
    if not wanted(settings):
        return {}
    assert settings.oidc_client_secret is not None
    return {
        "auth": {
            "redirect_uri": f"{address}/oauth2callback",
            "cookie_secret": keys.derived(settings, "dashboards cookie").hex(),
            "client_id": settings.oidc_client_id,
            "client_secret": settings.oidc_client_secret.get_secret_value(),
            "server_metadata_url": settings.oidc_metadata_url,
        }
    }


def allowed(settings: Settings, address: str | None, verified: bool = True) -> bool:
    """Return whether the person with this e-mail address may see the dashboards."""
    rules = [_comparable(rule) for rule in settings.oidc_allowed.split(",") if rule.strip()]
    if not rules:
        return True
    plain = _comparable(address or "")
    if not plain or not verified:
        return False
    return any(
        plain.endswith(rule) and plain.count("@") == 1 if rule.startswith("@") else plain == rule
        for rule in rules
        if rule
    )


def _comparable(address: str) -> str:
    """Return an address as it is compared; nothing when no mailbox can have it."""
    try:
        return addresses.comparable(address)
    except addresses.NoDomain:
        return ""


def of_request(settings: Settings, request: Request) -> bool:
    """Return whether a request beside the pages is by a person who is logged in and allowed, by Streamlit's signed
    cookie."""
    if not wanted(settings):
        return True
    try:
        payload = _get_signed_cookie_with_chunks(request.cookies, AUTH_COOKIE_NAME)
        person = json.loads(payload) if payload else {}
    except ValueError:
        return False
    known = bool(person.get("is_logged_in"))
    return known and allowed(settings, person.get("email"), bool(person.get("email_verified", True)))


def passed(settings: Settings) -> bool:
    """Let in a person who is logged in and allowed; any other person sees how to log in, and nothing more."""
    if not wanted(settings):
        return True
    if not st.user.is_logged_in:
        st.title("SearchFlow", anchor=False)
        st.markdown("These dashboards are for people who are known here.")
        st.button("Log in", on_click=st.login, type="primary", key="log-in")
        return False
    if not allowed(settings, st.user.get("email"), bool(st.user.get("email_verified", True))):
        st.title("SearchFlow", anchor=False)
        st.markdown("You are logged in, but these dashboards are not open to you. Ask the person who runs them.")
        st.button("Log out", on_click=st.logout, key="log-out")
        return False
    with st.sidebar:
        st.button("Log out", on_click=st.logout, type="tertiary", key="log-out")
    return True
