"""A real Chromium and a running server, shared by every browser test.

Without a Chromium the tests are skipped, saying so; on CI that is a failure.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

REPOSITORY = Path(__file__).parents[2]
START_S = 60
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]
WITHOUT_WEBGL = [*ARGUMENTS, "--disable-gpu", "--disable-3d-apis"]
SOFTWARE_WEBGL = [*ARGUMENTS, "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
TIMEOUT_MS = 30_000


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Any]:
    """Start Playwright's driver, once; skip (on CI: fail) without it."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed: pip install -r requirements-dev.txt")
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def chromium(playwright: Any) -> Iterator[Any]:
    """Start the system's Chromium without WebGL: everything but 3-D must work there."""
    browser = _launch(playwright, WITHOUT_WEBGL)
    yield browser
    browser.close()


@pytest.fixture
def chromium_with_webgl(playwright: Any) -> Iterator[Any]:
    """Start the system's Chromium with WebGL in software."""
    browser = _launch(playwright, SOFTWARE_WEBGL)
    yield browser
    browser.close()


def _launch(playwright: Any, arguments: list[str]) -> Any:
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        _missing("no chromium on this machine: apt-get install chromium")
    return playwright.chromium.launch(executable_path=executable, args=arguments)


@dataclass
class Server:
    """A running ``streamlit run``."""

    url: str
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start a script on a free port; stopped when the tests end.

    Call it as ``serve(script, *streamlit_options)``; every distinct call starts one server.
    """
    servers: dict[tuple[Any, ...], Server] = {}
    logs = tmp_path_factory.mktemp("servers")

    def start(script: Path, *options: str) -> Server:
        key = (script, *options)
        if key not in servers:
            servers[key] = _start(script, options, logs / f"{len(servers)}.log")
        return servers[key]

    yield start
    for server in servers.values():
        server.process.terminate()
        server.process.wait(20)


def _start(script: Path, options: tuple[str, ...], log: Path) -> Server:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "streamlit", "run", str(script), "--server.headless=true"),
        *(f"--server.port={port}", "--server.address=127.0.0.1"),
        *("--browser.gatherUsageStats=false", "--server.fileWatcherType=none", *options),
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=REPOSITORY
        )
    base = next((o.split("=")[1] for o in options if o.startswith("--server.baseUrlPath")), "")
    url = f"http://127.0.0.1:{port}" + (f"/{base}" if base else "")
    _await_health(url, process, log)
    return Server(url, process)


def _await_health(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    process.kill()
    pytest.fail(f"the server did not start:\n{log.read_text()}")


@dataclass
class Tab:
    """A browser tab that remembers what it sent, received and complained about."""

    page: Any
    requests: list[str] = field(default_factory=list)
    sent_frames: list[Any] = field(default_factory=list)
    received_frames: list[Any] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(TIMEOUT_MS)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("websocket", self._listen)

    @property
    def frames(self) -> int:
        """WebSocket frames in both directions so far."""
        return len(self.sent_frames) + len(self.received_frames)

    def foreign_requests(self) -> list[str]:
        """List the requests to any other host than this machine."""
        hosts = {"127.0.0.1", "localhost", "", None}
        return [url for url in self.requests if urlsplit(url).hostname not in hosts]

    def _note(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _listen(self, websocket: Any) -> None:
        websocket.on("framesent", lambda frame: self.sent_frames.append(frame))
        websocket.on("framereceived", lambda frame: self.received_frames.append(frame))


@pytest.fixture
def open_tab(chromium: Any) -> Iterator[Callable[..., Tab]]:
    """Open a tab of its own; keyword arguments but `browser` go to its ``new_context``."""
    contexts = []

    def open_(url: str, browser: Any = None, **options: Any) -> Tab:
        size = {"width": 1280, "height": 720}
        context = (browser or chromium).new_context(**{"viewport": size, **options})
        contexts.append(context)
        tab = Tab(context.new_page())
        tab.page.goto(url)
        return tab

    yield open_
    for context in contexts:
        context.close()
