"""Safe by default: the options that ship, who is let in, what headers say, what pages never do."""

import ast
import asyncio
import logging
import re
import sys
import sysconfig
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp
from streamlit.testing.v1 import AppTest

from pages.components import expiry, guard
from utils.intake import MAX_ZIP_BYTES

ROOT = Path(__file__).parents[1]
OPTIONS = tomllib.loads((ROOT / ".streamlit/config.toml").read_text())
SOURCES = sorted([ROOT / "app.py", *(ROOT / "pages").rglob("*.py")])
LOGIN = {
    "redirect_uri": "https://example.org/oauth2callback",
    "cookie_secret": "x" * 32,
    "client_id": "app",
    "client_secret": "y",
    "server_metadata_url": "https://login.example.org/.well-known/openid-configuration",
}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("server.address", "127.0.0.1"),
        ("server.allowedHosts", ["localhost", "127.0.0.1", "::1"]),
        ("server.enableCORS", True),
        ("server.enableXsrfProtection", True),
        ("server.enableStaticServing", False),
        ("server.enableAgentApi", False),
        ("server.fileWatcherType", "none"),
        ("server.showEmailPrompt", False),
        ("browser.gatherUsageStats", False),
        ("client.showErrorDetails", "none"),
        ("client.toolbarMode", "minimal"),
    ],
)
def test_the_shipped_option_is(option: str, value: object) -> None:
    section, name = option.split(".")
    assert OPTIONS[section][name] == value
    assert type(OPTIONS[section][name]) is type(value)


def test_no_option_that_could_weaken_these_is_set() -> None:
    assert set(OPTIONS) == {"server", "browser", "client", "theme"}
    assert len(OPTIONS["server"]) == 10
    assert len(OPTIONS["browser"]) == 1
    assert len(OPTIONS["client"]) == 2


def test_an_upload_is_no_larger_than_what_the_gate_unpacks() -> None:
    assert OPTIONS["server"]["maxUploadSize"] * 2**20 <= MAX_ZIP_BYTES


def test_streamlit_keeps_a_closed_session_until_the_sweep_has_closed_it() -> None:
    # what outlives Streamlit's own limit cannot be closed any more, and lingers
    ttl = OPTIONS["server"]["disconnectedSessionTTL"]
    assert ttl >= expiry.GRACE_S + 2 * expiry.SWEEP_INTERVAL_S


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "unix:///run/a"])
def test_these_addresses_reach_this_computer_alone(address: str) -> None:
    assert guard.is_loopback(address)


@pytest.mark.parametrize("address", [None, "", "0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_these_addresses_may_be_reached_by_others(address: str | None) -> None:
    assert not guard.is_loopback(address)


@dataclass
class Answer:
    """What came back: of a web socket only whether it was accepted."""

    status: int
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)


class Server:
    """The app's middleware before a page that says hello, bound to one address."""

    def __init__(self) -> None:
        inner: ASGIApp = hello
        for layer in reversed(guard.protection()):
            inner = layer.cls(inner, *layer.args, **layer.kwargs)
        self._app = inner

    def get(self, path: str = "/", reached_at: str = "127.0.0.1", kind: str = "http") -> Answer:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": f"{kind}.connect"}

        scope = {"type": kind, "path": path, "server": (reached_at, 8501), "headers": []}
        asyncio.run(self._app(scope, receive, send))
        if kind == "websocket":
            return Answer({"websocket.accept": 101, "websocket.close": 403}[sent[0]["type"]])
        headers = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
        return Answer(sent[0]["status"], sent[1]["body"].decode(), headers)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    else:
        await PlainTextResponse("hello")(scope, receive, send)


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], Server]:
    """Make a server whose ``server.address`` is the one given."""
    guard._say_once.cache_clear()
    monkeypatch.delenv(guard.UNPROTECTED, raising=False)

    def to(address: str | None) -> Server:
        monkeypatch.setattr(st, "get_option", {"server.address": address}.get)
        return Server()

    return to


def test_this_computer_is_answered(bound: Any) -> None:
    assert bound("127.0.0.1").get().text == "hello"


@pytest.mark.parametrize(
    ("bound_to", "reached_at"),
    [("0.0.0.0", "127.0.0.1"), (None, "127.0.0.1"), ("127.0.0.1", "192.168.1.5")],
)
def test_others_are_refused_in_one_sentence_on_the_page_and_in_the_log(
    bound: Any, bound_to: str | None, reached_at: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = bound(bound_to)
    with caplog.at_level(logging.WARNING):
        answers = [server.get(path, reached_at) for path in ("/", "/media/a.png")]
    assert {(a.status, a.text) for a in answers} == {(403, guard.REFUSED)}
    assert [r.getMessage() for r in caplog.records if r.name == guard.LOG.name] == [guard.REFUSED]
    assert server.get("/_stcore/stream", reached_at, "websocket").status == 403


def test_a_signs_of_life_check_is_answered_everywhere(bound: Any) -> None:
    assert bound("0.0.0.0").get("/_stcore/health").status == 200


def test_the_explicit_flag_serves_others_with_a_warning(
    bound: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(guard.UNPROTECTED, "1")
    with caplog.at_level(logging.WARNING):
        assert bound("0.0.0.0").get("/", "192.168.1.5").text == "hello"
    assert guard.WARNED in caplog.text


@pytest.mark.parametrize("value", ["", "0", "no", "false"])
def test_only_a_one_sets_the_flag(bound: Any, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(guard.UNPROTECTED, value)
    assert bound("0.0.0.0").get().status == 403


def test_with_a_login_others_are_served(bound: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "get_secrets_auth_section", LOGIN.copy)
    server = bound("0.0.0.0")
    assert server.get("/", "192.168.1.5").text == "hello"
    assert server.get("/_stcore/stream", "192.168.1.5", "websocket").status == 101


@pytest.mark.parametrize("missing", LOGIN)
def test_half_a_login_is_none(bound: Any, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    half = {key: value for key, value in LOGIN.items() if key != missing}
    monkeypatch.setattr(guard, "get_secrets_auth_section", half.copy)
    assert bound("0.0.0.0").get().status == 403


def test_with_a_login_configured_a_stranger_sees_a_button_and_no_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "get_secrets_auth_section", LOGIN.copy)
    monkeypatch.setattr(st, "user", type("User", (), {"is_logged_in": False}))
    app = AppTest.from_file(ROOT / "app.py", default_timeout=60).run()
    assert [button.key for button in app.button] == ["login"]
    assert not app.file_uploader


def test_every_answer_forbids_other_places_frames_and_guessing(bound: Any) -> None:
    for address in ("127.0.0.1", "0.0.0.0"):  # a refusal too
        headers = bound(address).get().headers
        policy = dict(p.split(" ", 1) for p in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["object-src"] == "'none'"
        assert not {"connect-src", "media-src"} & set(policy)  # they fall back to 'self'
        assert not any("http" in sources or "*" in sources for sources in policy.values())
        assert "unsafe" not in policy["script-src"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_pictures_and_masks_are_kept_by_no_browser_cache(bound: Any) -> None:
    server = bound("127.0.0.1")
    assert server.get("/media/a.png").headers["cache-control"] == "no-store, private"
    assert "cache-control" not in server.get("/static/media/font.woff2").headers


def calls(source: Path) -> list[ast.Call]:
    return [n for n in ast.walk(ast.parse(source.read_text())) if isinstance(n, ast.Call)]


def constants(source: Path) -> set[str]:
    """Names that the module gives a literal, and that nothing else in it ever assigns."""
    tree = ast.parse(source.read_text())
    assigned = [
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    ]
    literal = [
        ast.unparse(n.targets[0])
        for n in tree.body
        if isinstance(n, ast.Assign) and isinstance(n.value, ast.Constant)
    ]
    return {name for name in literal if assigned.count(name) == 1}


def is_constant(node: ast.expr, texts: set[str]) -> bool:
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id in texts)


def name_of(node: ast.expr) -> str:
    return ast.unparse(node.func if isinstance(node, ast.Call) else node)


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_kept_in_a_cache_that_all_readers_share(source: Path) -> None:
    # st.cache_data is shared by all sessions, and tells large arrays apart by samples
    assert "cache_data" not in source.read_text()
    shared = [
        f.name
        for f in ast.walk(ast.parse(source.read_text()))
        if isinstance(f, ast.FunctionDef)
        and any(
            "cache" in name_of(decorator)
            and name_of(decorator) != "cached_property"  # its object's
            for decorator in f.decorator_list
        )
        and (f.args.args or f.args.kwonlyargs or f.args.vararg or f.args.kwarg)
    ]
    allowed = {ROOT / "pages/components/guard.py": ["_say_once"]}  # sentences of the program
    assert shared == allowed.get(source, [])


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_page_writes_html_that_is_not_a_constant(source: Path) -> None:
    texts = constants(source)
    for call in calls(source):
        keywords = {k.arg: k.value for k in call.keywords}
        assert "unsafe_allow_html" not in keywords
        assert "unsafe_allow_javascript" not in keywords
        if name_of(call).endswith((".html", ".iframe")):
            assert all(is_constant(a, texts) for a in [*call.args, *keywords.values()])
        if "html" in keywords:
            assert is_constant(keywords["html"], texts)


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_page_opens_a_connection_or_prints(source: Path) -> None:
    tree = ast.parse(source.read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([a.name for a in node.names] + [getattr(node, "module", None) or ""])
    }
    assert not imported & {"socket", "urllib", "requests", "httpx", "aiohttp", "http", "smtplib"}
    assert "print" not in {name_of(call) for call in calls(source)}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere packages bring others along")
def test_every_installed_package_is_pinned() -> None:
    """What requirements.txt brings along too: an install next year must be the one tested here."""
    files = [*ROOT.glob("requirements*.txt"), ROOT / "constraints.txt"]
    pins = re.findall(r"^([\w.-]+)==(\S+)", "\n".join(f.read_text() for f in files), re.MULTILINE)
    pinned = {plain(name): version for name, version in pins}
    packages = [sysconfig.get_path("purelib")]
    found = {plain(d.name): d.version for d in metadata.distributions(path=packages)}
    for name in found.keys() - {"pip", "setuptools", "wheel"}:  # which no program needs to run
        assert found[name].partition("+")[0] == pinned.get(name), name  # +cpu: how it was built


def plain(name: str) -> str:
    """A package's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
