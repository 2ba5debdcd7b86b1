"""Measure how long a slice takes from hand to eye: ``python -m tests.benchmarks.bench_viewer``.

Both ways run in the same Chromium (no GPU) against the same server: wheel events on the viewer's
canvas, arrow keys on an ``st.slider`` that shows the slice with ``st.image``. An image counts when
the browser has painted it.
"""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.browser.endurance import WHEELS_A_FRAME, held, read_for_long

APP = Path(__file__).with_name("viewer_app.py")
SINGLE_INPUTS = 40
BURST = 60
FIRST_IMAGE_S = 2.5
HOUR_FRAMES = 1200

# Times from an input event to the first frame after the picture has changed, and how many
# different pictures were painted.
WATCH = """(selector) => {
  window.waits = []; window.pictures = 0; window.inputAt = null;
  const note = () => {
    const then = window.inputAt;
    requestAnimationFrame(() => setTimeout(() => {
      window.pictures++;
      if (then !== null && window.inputAt === then) {
        window.waits.push(performance.now() - then);
        window.inputAt = null;
      }
    }));
  };
  const roots = [document, ...[...document.querySelectorAll("*")].map((e) => e.shadowRoot)];
  const target = roots.filter(Boolean).map((r) => r.querySelector(selector)).find(Boolean);
  const options = { attributes: true, childList: true, subtree: true };
  window.watcher?.disconnect();
  window.watcher = new MutationObserver((changes) => {
    if (changes.some((c) => c.attributeName === "data-slice" || c.attributeName === "src")) note();
  });
  window.watcher.observe(target, { ...options, attributeFilter: ["data-slice", "src"] });
  for (const name of ["wheel", "keydown"]) {
    window.addEventListener(name, (e) => (window.inputAt = e.timeStamp), { capture: true });
  }
}"""


@contextmanager
def running_app(script: Path = APP) -> Iterator[str]:
    """Serve the benchmark's app, or another one, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--server.headless=true", f"--server.port={port}", "--server.address=127.0.0.1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(script), *options],
        env={**os.environ, "PYTHONPATH": str(APP.parents[2])},
        cwd=APP.parents[2],  # where the configuration lies
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=2).close()
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def first_image_s(page: Any, url: str) -> float:
    """Time from the end of a run to the painted slice with its tumour."""
    page.goto(url)
    button = page.get_by_role("button", name="Finish the run")
    button.wait_for(timeout=120_000)  # the demo study is being made
    page.wait_for_timeout(1000)
    began = time.perf_counter()
    button.click()
    page.wait_for_selector(".pane canvas[data-scan]")
    return time.perf_counter() - began


def measured(page: Any, act: Any, pause_ms: int) -> list[float]:
    """Input-to-image times of single inputs, each given the time to finish."""
    for _ in range(SINGLE_INPUTS):
        act()
        page.wait_for_timeout(pause_ms)
    times: list[float] = page.evaluate("window.waits")
    return times


def burst(page: Any, act: Any) -> int:
    """Pictures painted for `BURST` inputs as fast as a hand gives them (60 a second)."""
    page.evaluate("window.pictures = 0")
    for _ in range(BURST):
        act()
        page.wait_for_timeout(1000 / 60)
    page.wait_for_timeout(2500)
    count: int = page.evaluate("window.pictures")
    return count


def report(way: str, times: list[float], pictures: int) -> None:
    times = sorted(times)
    if not times:
        sys.stdout.write(f"{way:28} no image came\n")
        return
    slow = times[int(0.95 * (len(times) - 1))]
    sys.stdout.write(
        f"{way:28} median {statistics.median(times):6.1f} ms   95th {slow:6.1f} ms   "
        f"pictures for {BURST} inputs: {pictures} ({max(BURST - pictures, 0)} dropped)\n"
    )


def bench_viewer(page: Any) -> None:
    """Wheel on the axial pane alone, then with three planes."""
    for key, name in (("a", "viewer, one plane"), ("m", "viewer, three planes")):
        page.locator(".pane canvas[data-scan]").first.focus()
        page.keyboard.press(key)
        page.keyboard.press("Home")
        page.wait_for_timeout(2500)
        page.locator(".pane canvas[data-scan]").first.hover()
        page.evaluate(WATCH, ".stage")
        times = measured(page, lambda: page.mouse.wheel(0, -100), 120)
        report(name, times, burst(page, lambda: page.mouse.wheel(0, -100)))


def bench_hour(page: Any) -> None:
    """Several thousand turns of the wheel, with other scans, planes and layouts in between."""
    session = page.context.new_cdp_session(page)
    read_for_long(page, HOUR_FRAMES // 4)  # every way of looking at it once
    before = held(session)
    began = time.perf_counter()
    read_for_long(page, HOUR_FRAMES)
    seconds = time.perf_counter() - began
    after = held(session)
    sys.stdout.write(
        f"{HOUR_FRAMES * WHEELS_A_FRAME} wheel events, {HOUR_FRAMES / seconds:.0f} frames/s: "
        f"JS heap {before.heap_bytes / 1e6:.1f} -> {after.heap_bytes / 1e6:.1f} MB, "
        f"nodes {before.nodes} -> {after.nodes}, "
        f"listeners {before.listeners} -> {after.listeners}\n"
    )


def bench_slider(page: Any) -> None:
    """Arrow keys on the usual slider."""
    page.get_by_role("link", name="Slider").click()
    slider = page.locator("[data-testid=stSlider] input")
    slider.wait_for()
    page.wait_for_timeout(2000)
    page.evaluate(WATCH, ".stMain")
    slider.focus()
    times = measured(page, lambda: page.keyboard.press("ArrowRight"), 900)
    report("st.slider and st.image", times, burst(page, lambda: page.keyboard.press("ArrowRight")))


def main() -> int:
    """Print the table; fail if the first image is late."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        sys.stderr.write("no chromium on this machine: apt-get install chromium\n")
        return 2
    with running_app() as url, sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        seconds = first_image_s(page, url)
        sys.stdout.write(f"run finished to first image  {seconds:.2f} s (limit {FIRST_IMAGE_S})\n")
        page.wait_for_timeout(6000)  # everything encoded and fetched
        bench_viewer(page)
        bench_hour(page)
        bench_slider(page)
        browser.close()
    return int(seconds > FIRST_IMAGE_S)


if __name__ == "__main__":
    sys.exit(main())
