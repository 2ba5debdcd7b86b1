"""Memory of freed arrays, seen from outside: each case runs in a process of its own."""

import asyncio
import subprocess
import sys

import pytest

from pages.components import expiry

SCRIPT = """
import sys
import numpy as np
from utils.memory import give_arrays_back

def resident_mib():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

if sys.argv[1] == "given back":
    give_arrays_back()
np.ones(30 << 20, np.uint8)  # the largest block so far, freed at once
before = resident_mib()
held = []
for _ in range(20):
    scan = np.ones(8 << 20, np.uint8)
    held.append((scan, bytearray(50_000)))  # something small that lives on after each
small = [part for _, part in held]
del held, scan
print(resident_mib() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps what is freed")
@pytest.mark.parametrize(("what", "kept"), [("given back", False), ("left to glibc", True)])
def test_freed_scans_go_back_to_the_system(what: str, kept: bool) -> None:
    command = [sys.executable, "-c", SCRIPT, what]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    # twenty scans of 8 MiB were held
    assert (float(found.stdout) > 80) is kept


def test_the_server_gives_back_what_closed_sessions_held(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(expiry, "give_arrays_back", lambda: asked.append(True))

    async def serve() -> None:
        async with expiry.expire_closed_sessions(None):
            assert asked == [True]

    asyncio.run(serve())
