"""Who may use the app, and what a browser may do with its answers.

Three layers: without a login the app answers this computer only; with one (Streamlit's OpenID
Connect, ``[auth]`` in secrets.toml) every page demands it; and headers forbid the page to load
from, or to send to, any other place.
"""

import base64
import hashlib
import ipaddress
import logging
import os
import re
from collections.abc import MutableMapping
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose
from streamlit.auth_util import get_secrets_auth_section

LOG = logging.getLogger(__name__)

UNPROTECTED = "ALLOW_UNPROTECTED_ACCESS"
"""Environment variable: ``1`` serves other computers although nobody has to log in."""

REFUSED = (
    "This app shows medical images and asks nobody for a password, so it answers only the computer "
    f"it runs on. Configure a login (SECURITY.md tells how), or set {UNPROTECTED}=1 if something "
    "else protects it."
)
WARNED = (
    f"{UNPROTECTED} is set: everyone who can reach this app's address can use it without a "
    "password."
)
SIGNS_OF_LIFE = ("/_stcore/health", "/_stcore/script-health-check")
_LOGIN_KEYS = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def protection() -> list[Middleware]:
    """Middleware that ``st.App`` must be given: the outermost first."""
    return [Middleware(_Headers), Middleware(_LocalUnlessProtected)]


def demand_login() -> None:
    """Stop the page before a reader who has not logged in, if a login is configured."""
    if login_is_configured() and not st.user.is_logged_in:
        st.info("Please log in to use this app.")
        st.button("Log in", key="login", type="primary", on_click=st.login)
        st.stop()


def login_is_configured() -> bool:
    """Whether secrets.toml has all that Streamlit's login needs; half of it protects nothing."""
    section = get_secrets_auth_section()
    return all(section.get(key) for key in _LOGIN_KEYS)


def is_loopback(address: str | None) -> bool:
    """Whether only this computer can reach an address; None means every address it has."""
    if address is None:
        return False
    if address == "localhost" or address.startswith(("unix:", "/")):
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False  # another name: it may resolve to anything


class _LocalUnlessProtected:
    """Refuse what comes from the network, unless there is a login or somebody took the risk."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        public = scope["type"] == "lifespan" or scope["path"].endswith(SIGNS_OF_LIFE)
        if public or _is_local(scope) or login_is_configured() or _risk_is_taken():
            await self.app(scope, receive, send)
        else:
            _say_once(REFUSED)
            answer = PlainTextResponse(REFUSED, 403) if scope["type"] == "http" else _CLOSED
            await answer(scope, receive, send)


class _Headers:
    """Add what tells a browser to keep the page to itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _headers().items():
                    headers.setdefault(name, value)
                if "/media/" in scope["path"] and "/static/" not in scope["path"]:
                    headers["Cache-Control"] = "no-store, private"  # thumbnails and masks
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


_CLOSED = WebSocketClose(1008, "login needed")


def _is_local(scope: MutableMapping[str, Any]) -> bool:
    """Whether the server listens on this computer only, and the connection came in there.

    The configured address is not enough: another ASGI server does not ask Streamlit for it.
    """
    arrived_at = (scope.get("server") or (None,))[0]
    return is_loopback(st.get_option("server.address")) and is_loopback(arrived_at)


def _risk_is_taken() -> bool:
    if os.environ.get(UNPROTECTED) != "1":
        return False
    _say_once(WARNED)
    return True


@cache
def _say_once(sentence: str) -> None:
    LOG.warning("%s", sentence)


@cache
def _headers() -> dict[str, str]:
    return {
        "Content-Security-Policy": "; ".join(_content_security_policy()),
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    }


def _content_security_policy() -> list[str]:
    """Everything from this server alone; what Streamlit's page cannot do without is said here."""
    hashes = " ".join(f"'sha256-{h}'" for h in _inline_script_hashes())
    return [
        "default-src 'self'",
        f"script-src 'self' blob: {hashes}",  # blob: the viewer's loader, as Streamlit starts it
        "style-src 'self' 'unsafe-inline'",  # Streamlit's styles are made while it runs
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]


def _inline_script_hashes() -> list[str]:
    """Hash the scripts that stand in Streamlit's own page, whichever version is installed."""
    page = (Path(st.__file__).parent / "static/index.html").read_text(encoding="utf-8")
    scripts = _INLINE_SCRIPT.findall(page)
    return [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
