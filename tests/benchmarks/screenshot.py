"""Take the README's picture of the app: ``python -m tests.benchmarks.screenshot``.

The demo study, a synthetic head, is segmented by the shipped network; no patient is in the picture.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.benchmarks.bench_viewer import running_app

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "segment.png"
WIDTH, HEIGHT = 1280, 720
SEGMENTED_MS = 300_000  # with what loads the network before
SETTLED_MS = 3_000  # fonts, and the planes in full resolution


def take(page: Any, url: str, picture: Path) -> None:
    """Open the demo study as a person does, and keep what the window shows."""
    page.set_default_timeout(SEGMENTED_MS)
    page.goto(url)
    page.get_by_role("button", name="Demo study").click()
    page.get_by_role("button", name="Mask").first.wait_for()
    page.wait_for_selector(".pane canvas[data-scan]")
    page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=picture)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.screenshot")
    parser.add_argument("--out", type=Path, default=PICTURE, help="a .png file")
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    arguments = parser.parse_args()
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        sys.stderr.write("no chromium on this machine: apt-get install chromium\n")
        return 1
    with running_app(ROOT / "app.py") as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=arguments.scheme
        )
        take(page, url, arguments.out)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
