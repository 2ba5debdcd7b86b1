"""Runs the slicing code's own tests in Node."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def test_the_slicing_code_passes_its_own_tests() -> None:
    if shutil.which("node") is None and not os.environ.get("CI"):
        pytest.skip("node is not installed: apt-get install nodejs")  # on CI it has to be there
    tests = sorted(map(str, Path(__file__).parent.glob("*.test.mjs")))
    run = subprocess.run(["node", "--test", *tests], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "# fail 0" in run.stdout
