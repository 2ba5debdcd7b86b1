"""The whole app in a real browser, with the shipped network: demo study to mask on disk."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from utils.labels import Region
from utils.measure import millilitres
from utils.metrics import dice
from utils.nifti import write_labels
from utils.phantom import demo_study

ROOT = Path(__file__).parents[2]
RUN_MS = 240_000  # a loaded machine with two cores, the first call included


@pytest.fixture(scope="module")
def truth() -> Any:
    return demo_study()


@pytest.fixture
def page(serve: Any, chromium: Any) -> Any:
    context = chromium.new_context(viewport={"width": 1280, "height": 720}, accept_downloads=True)
    page = context.new_page()
    page.goto(serve(ROOT / "app.py").url)
    yield page
    context.close()


def download(page: Any, name: str, folder: Path) -> Path:
    with page.expect_download() as promise:
        page.get_by_role("button", name=name).click()
    path = folder / promise.value.suggested_filename
    promise.value.save_as(path)
    return path


def test_the_demo_study_is_segmented_scrolled_and_downloaded(
    page: Any, truth: Any, tmp_path: Path
) -> None:
    study, labels = truth
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.get_by_role("button", name="Demo study").click()
    page.get_by_role("button", name="Mask").wait_for(timeout=RUN_MS)
    canvas = page.locator("canvas").first
    canvas.wait_for(timeout=60_000)
    before = canvas.screenshot()
    canvas.hover()
    page.mouse.wheel(0, 600)
    page.wait_for_timeout(500)
    assert canvas.screenshot() != before

    path = download(page, "Mask", tmp_path)
    assert path.name.endswith(".nii.gz")
    mask = nib.load(path)
    assert mask.get_data_dtype() == np.uint8
    assert mask.shape == study.grid.shape
    np.testing.assert_array_equal(mask.affine, study.grid.affine)
    found = np.asarray(mask.dataobj)
    assert dice(Region.WT.mask(found), Region.WT.mask(labels)) > 0.7
    assert not complaints


def whole_ml(path: Path) -> float:
    mask = nib.load(path)
    voxels = int(np.count_nonzero(np.asarray(mask.dataobj)))
    return voxels * abs(float(np.linalg.det(mask.affine[:3, :3]))) / 1000


def rest(page: Any) -> None:
    """Wait for the run that a click has caused."""
    page.wait_for_timeout(300)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def test_a_lesion_removed_by_a_click_is_gone_from_number_and_file_until_undone(
    page: Any, tmp_path: Path
) -> None:
    page.get_by_role("button", name="Demo study").click()
    page.get_by_role("button", name="Mask").wait_for(timeout=RUN_MS)
    number = page.get_by_test_id("stMetricValue").first
    first = download(page, "Mask", tmp_path)
    before = number.inner_text()
    assert before == f"{whole_ml(first):.1f} mL"

    page.get_by_role("button", name="Remove").first.click()
    page.get_by_text("by you").first.wait_for()
    rest(page)
    corrected = download(page, "Mask", tmp_path)
    assert corrected.name.startswith("segmentation-corrected-")
    assert whole_ml(corrected) < whole_ml(first)
    assert number.inner_text() == millilitres(whole_ml(corrected))

    page.get_by_text("Correct", exact=True).click()
    page.get_by_role("button", name="Undo").click()
    number.filter(has_text=before).wait_for()
    rest(page)
    (tmp_path / "again").mkdir()
    again = download(page, "Mask", tmp_path / "again")
    assert (again.name, again.read_bytes()) == (first.name, first.read_bytes())


def test_a_broken_file_gives_a_sentence_in_the_browser(page: Any, truth: Any) -> None:
    study, labels = truth
    whole = write_labels(labels, study.grid)
    page.locator('input[type="file"]').first.set_input_files([
        {"name": "a_flair.nii.gz", "mimeType": "application/gzip", "buffer": whole[:3000]},
        {"name": "a_t1.nii.gz", "mimeType": "application/gzip", "buffer": gzip.compress(b"no")},
    ])  # fmt: skip
    page.get_by_text("incomplete").first.wait_for(timeout=60_000)
    assert "Traceback" not in page.content()


def test_a_page_opened_by_its_own_address_has_the_frame(serve: Any, chromium: Any) -> None:
    fresh = serve(ROOT / "app.py", "--logger.level=warning")  # nobody has opened any page yet
    page = chromium.new_page()
    page.goto(f"{fresh.url}/guide")
    page.get_by_text("Not a medical device").first.wait_for(timeout=60_000)
    page.get_by_role("heading", name="What you need").wait_for()
    assert page.get_by_text("Page not found").count() == 0
    page.get_by_role("link", name="Segment").first.click()
    page.get_by_role("heading", name="Segment").first.wait_for()
    page.close()
