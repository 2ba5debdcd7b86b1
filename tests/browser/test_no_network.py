"""The whole app, server and browser, where there is no network but the machine's own loopback."""

import shutil
import subprocess
import sys
from typing import Any

import pytest

from tests.browser.conftest import REPOSITORY

TEST = "tests/browser/test_app.py::test_the_demo_study_is_segmented_scrolled_and_downloaded"
LOOPBACK_ONLY = """
import fcntl, os, socket, struct, sys
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
fcntl.ioctl(socket.socket(), SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
assert [name for _, name in socket.if_nameindex()] == ["lo"]
os.execv(sys.executable, [sys.executable, "-m", "pytest", "-q", *sys.argv[1:]])
"""


def test_a_study_is_segmented_and_taken_home_in_an_empty_network_namespace(chromium: Any) -> None:
    empty = ["unshare", "--map-root-user", "--net", "--"]
    if not shutil.which(empty[0]) or subprocess.run([*empty, "true"], check=False).returncode:
        pytest.skip("this machine lets nobody make a network namespace")
    run = subprocess.run(
        [*empty, sys.executable, "-c", LOOPBACK_ONLY, "-p", "no:cacheprovider", TEST],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed" in run.stdout
