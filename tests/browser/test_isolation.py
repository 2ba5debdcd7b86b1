"""Two live sessions, and what is left of a closed one; the real app with a network of two lines."""

import gzip
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from streamlit.runtime.memory_media_file_storage import _calculate_file_id

from utils.grid import Grid
from utils.labels import Label
from utils.nifti import write_labels
from utils.study import Modality

ROOT = Path(__file__).parents[2]
GRACE_S = 2.0
SHAPE, BOX = (48, 56, 40), (10, 10, 10)
LARGE_SHAPE = (128, 112, 80)
NAMES = [f"DOE_JANE_MRN12345_{m}.nii.gz" for m in Modality]
CANARY = re.compile(r"DOE|JANE|MRN12345", re.IGNORECASE)
Corner = tuple[int, int, int]
Tumour = NDArray[np.bool_]


@dataclass
class App:
    """The running app; what its network and its masks are like depends on two files.

    The network waits for as long as `hold` exists; masks are not compressed while `store` does.
    """

    url: str
    log: Path
    hold: Path
    store: Path

    def memory(self) -> dict[str, int]:
        with urllib.request.urlopen(f"{self.url}/_test/memory") as answer:
            held: dict[str, int] = json.load(answer)
        return held

    def await_memory(self, done: Callable[[dict[str, int]], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not done(held := self.memory()):
            assert time.monotonic() < deadline, held
            time.sleep(0.5)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("isolation") / "log"
    command = [
        *(sys.executable, "-m", "tests.browser.launch", str(GRACE_S)),
        *("--server.headless=true", f"--server.port={port}", "--logger.level=debug"),
    ]
    hold, store = log.with_name("hold"), log.with_name("store")
    environment = {**os.environ, "HOLD_THE_NETWORK": str(hold), "STORE_THE_MASKS": str(store)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=environment
        )
    running = App(f"http://127.0.0.1:{port}", log, hold, store)
    deadline = time.monotonic() + 60
    while not answers(f"{running.url}/_stcore/health"):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    yield running
    process.terminate()
    process.wait(20)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def lps(shape: tuple[int, ...]) -> Grid:
    i, j, k = shape
    return Grid((i, j, k), np.diag([-1.0, -1, 1, 1]))


def head(modality: Modality, tumour: Tumour) -> bytes:
    """A head whose contrasts are those of its modality, with a bright tumour."""
    rng = np.random.default_rng(list(Modality).index(modality))
    values = np.zeros(tumour.shape, np.uint8)
    inner = tuple(slice(4, n - 4) for n in tumour.shape)
    values[inner] = rng.integers(60, 120, values[inner].shape)
    values[tumour] = 250
    return write_labels(values, lps(tumour.shape))


def cube(corner: Corner) -> Tumour:
    """A millilitre."""
    tumour = np.zeros(SHAPE, np.bool_)
    tumour[tuple(slice(at, at + size) for at, size in zip(corner, BOX, strict=True))] = True
    return tumour


def right_mask(tumour: Tumour) -> bytes:
    return write_labels(np.where(tumour, np.uint8(Label.ET), np.uint8(0)), lps(tumour.shape))


def stored_mask(tumour: Tumour) -> bytes:
    """The right mask, in gzip's wrapping but not compressed."""
    return gzip.compress(gzip.decompress(right_mask(tumour)), 0, mtime=0)


def two_tumours_whose_masks_are_equally_long() -> list[Tumour]:
    seen: dict[int, Tumour] = {}
    for corner in itertools.product(range(8, 28, 2), repeat=3):
        size = len(right_mask(cube(corner)))
        if size in seen:
            return [seen[size], cube(corner)]
        seen[size] = cube(corner)
    raise AssertionError("no two masks are equally long")


def two_tumours_whose_large_masks_streamlit_takes_for_one() -> list[Tumour]:
    """Beyond 1 MiB it looks at length, first, middle and last 64 KiB: the checksum is in the last.

    A checksum is linear: of 64 bumps on a slab some subset leaves it as it is.
    """
    slab = np.zeros(LARGE_SHAPE, np.bool_)
    slab[40:80, 40:80, 12:20] = True
    plain = zlib.crc32(gzip.decompress(stored_mask(slab)))
    found: dict[int, tuple[int, Tumour]] = {}  # by highest bit of what the bumps do to it
    for i, j in itertools.product(range(44, 76, 4), repeat=2):
        bumps = slab.copy()
        bumps[i, j, 20] = True
        change = zlib.crc32(gzip.decompress(stored_mask(bumps))) ^ plain
        while change and change.bit_length() in found:
            other, others = found[change.bit_length()]
            change, bumps = change ^ other, bumps ^ others ^ slab
        if not change:
            return [slab, bumps]
        found[change.bit_length()] = change, bumps
    raise AssertionError("no bumps leave the checksum as it is")


def upload(tab: Any, tumour: Tumour) -> None:
    files = [
        {"name": name, "mimeType": "application/gzip", "buffer": head(m, tumour)}
        for name, m in zip(NAMES, Modality, strict=True)
    ]
    tab.page.locator("input[type=file]").first.set_input_files(files)
    tab.page.get_by_role("button", name="Segment").wait_for()


def start(tab: Any, *, clicks: int = 1) -> None:
    for agree in tab.page.get_by_role("checkbox").all():
        agree.check(force=True)
    tab.page.locator(".st-key-segment button:enabled").click(click_count=clicks)


def segment(tab: Any) -> None:
    start(tab)
    tab.page.locator(".viewer canvas").first.wait_for()
    tab.page.get_by_role("button", name="Mask").wait_for()


def save_mask(tab: Any, folder: Path) -> tuple[str, bytes]:
    with tab.page.expect_download() as promise:
        tab.page.get_by_role("button", name="Mask").click()
    promise.value.save_as(folder / "download")
    return promise.value.suggested_filename, (folder / "download").read_bytes()


def masks_in(tab: Any) -> list[str]:
    return [url for url in tab.requests if "/media/" in url and url.endswith((".gz", ".gzip"))]


def test_two_readers_download_each_their_own_mask(
    app: App, open_tab: Callable[..., Any], tmp_path: Path
) -> None:
    tumours = two_tumours_whose_masks_are_equally_long()
    masks = [right_mask(tumour) for tumour in tumours]
    assert len(masks[0]) == len(masks[1])
    assert masks[0] != masks[1]
    saved = both_download(app, open_tab, tumours, tmp_path)
    assert [content for _, content in saved] == masks
    assert not [name for name, _ in saved if CANARY.search(name)]
    with urllib.request.urlopen(f"{app.url}/_stcore/metrics") as answer:
        metrics = answer.read().decode()
    assert "bytes" in metrics
    assert not CANARY.search(metrics)
    assert not CANARY.search(app.log.read_text())


def test_so_they_do_where_streamlit_cannot_tell_the_masks_apart(
    app: App, open_tab: Callable[..., Any], tmp_path: Path
) -> None:
    tumours = two_tumours_whose_large_masks_streamlit_takes_for_one()
    masks = [stored_mask(tumour) for tumour in tumours]
    assert masks[0] != masks[1]
    assert len(masks[0]) == len(masks[1]) > 2**20
    assert len({_calculate_file_id(mask, "application/gzip", "mask.nii.gz") for mask in masks}) == 1
    app.store.touch()
    saved = both_download(app, open_tab, tumours, tmp_path)
    app.store.unlink()
    assert [content for _, content in saved] == masks


def both_download(
    app: App, open_tab: Callable[..., Any], tumours: list[Tumour], folder: Path
) -> list[tuple[str, bytes]]:
    """Name and content of each reader's mask; the second downloads first."""
    tabs = [open_tab(app.url, accept_downloads=True) for _ in tumours]
    for tab, tumour in zip(tabs, tumours, strict=True):
        upload(tab, tumour)
    for tab in tabs:
        segment(tab)
    saved = [save_mask(tab, folder) for tab in reversed(tabs)][::-1]
    assert saved[0][0] != saved[1][0]
    assert not set(masks_in(tabs[0])) & set(masks_in(tabs[1]))
    for tab in tabs:
        assert tab.foreign_requests() == []
        assert not [c for c in tab.complaints if "Content Security Policy" in c]
        assert not [url for url in tab.requests if CANARY.search(url)]
    return saved


def test_a_double_click_starts_one_segmentation(app: App, open_tab: Callable[..., Any]) -> None:
    app.hold.touch()
    tab = open_tab(app.url)
    upload(tab, cube((8, 8, 8)))
    start(tab, clicks=2)
    tab.page.get_by_role("button", name="Cancel").wait_for()
    tab.page.wait_for_timeout(1500)
    held = app.memory()
    app.hold.unlink()
    assert (held["visits"], held["jobs"]) == (1, 1)
    tab.page.get_by_role("button", name="Mask").wait_for()


@pytest.mark.parametrize("leaves", ["reload", "close", "cancel"])
def test_who_leaves_in_the_middle_of_a_run_leaves_nothing_behind(
    app: App, open_tab: Callable[..., Any], leaves: str
) -> None:
    app.hold.touch()
    tab = open_tab(app.url)
    upload(tab, cube((8, 8, 8)))
    start(tab)
    tab.page.get_by_role("button", name="Cancel").wait_for()
    if leaves == "close":
        tab.page.close()
    elif leaves == "reload":
        tab.page.reload()
    else:
        tab.page.get_by_role("button", name="Cancel").click()
    if leaves != "close":  # an empty form, and no trace of a failure
        tab.page.get_by_role("button", name="Demo study").wait_for()
        assert "Traceback" not in tab.page.content()
        assert not tab.page.get_by_role("button", name="Mask").count()
    app.await_memory(lambda held: held["visits"] == 0, GRACE_S + 10)
    app.hold.unlink()  # the network comes to its next step, where it learns that nobody waits
    sessions = 0 if leaves == "close" else 1
    app.await_memory(lambda held: nothing(held, sessions=sessions), GRACE_S + 20)
    if leaves != "close":  # and the next study is segmented as ever
        upload(tab, cube((10, 8, 8)))
        segment(tab)


def test_erasing_leaves_nothing_of_the_study_in_memory(
    app: App, open_tab: Callable[..., Any]
) -> None:
    tab = open_tab(app.url)
    upload(tab, cube((8, 8, 8)))
    assert app.memory()["uploads"] == len(Modality)
    segment(tab)
    addresses = {url for url in tab.requests if "/media/" in url or "/volume/" in url}
    addresses = {url for url in addresses if "/static/" not in url}
    assert addresses
    tab.page.get_by_role("button", name="Erase").click()
    tab.page.get_by_role("button", name="Demo study").wait_for()
    app.await_memory(lambda held: nothing(held, sessions=1), 30)
    assert not [url for url in addresses if answers(url)]


def test_a_closed_tab_leaves_nothing_of_its_study_in_memory(
    app: App, open_tab: Callable[..., Any]
) -> None:
    app.await_memory(lambda held: nothing(held, sessions=0), 30)
    tab = open_tab(app.url)
    upload(tab, cube((8, 8, 8)))
    segment(tab)
    held = app.memory()
    assert held["visits"] == held["sessions"] == 1
    tab.page.close()
    app.await_memory(lambda held: nothing(held, sessions=0), GRACE_S + 10)


def test_twenty_closed_tabs_leave_nothing_of_their_files_in_memory(
    app: App, open_tab: Callable[..., Any]
) -> None:
    for _ in range(20):
        tab = open_tab(app.url)
        upload(tab, cube((8, 8, 8)))
        tab.page.context.close()
    app.await_memory(lambda held: nothing(held, sessions=0), GRACE_S + 10)


def nothing(held: dict[str, int], *, sessions: int) -> bool:
    return held == {kind: sessions if kind == "sessions" else 0 for kind in held}


@pytest.fixture(autouse=True)
def _settled(app: App) -> None:
    """Wait until the sessions of the test before are gone."""
    app.await_memory(lambda held: held["sessions"] == 0, 60)
