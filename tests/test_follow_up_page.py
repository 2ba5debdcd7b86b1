"""The Follow-up page as a person drives it; the growth is known from paper."""

import gzip
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from numpy.typing import NDArray
from streamlit.testing.v1 import AppTest

from tests.person import opened, upload
from tests.test_align import grid_of, head, motion
from tests.test_compare_page import CUBE, GRID, file_of, labels_of, segmented_visit
from utils import two_visits
from utils.align import align, carried
from utils.correct import NO_EDITS, removals_of
from utils.grid import Grid
from utils.labels import Region, regions_of
from utils.measure import lesions
from utils.nifti import write_labels
from utils.phantom import ellipsoid
from utils.segmentation import CERTAIN

PAGE = "pages/views/follow_up.py"
HALF = (slice(10, 15), *CUBE[1:])  # 0.5 mL within the cube
ELSEWHERE = (slice(30, 35), slice(40, 45), slice(5, 10))  # 0.125 mL


def table(app: AppTest, first: str) -> list[list[str]]:
    text = next(m.value for m in app.markdown if m.value.startswith(f"| {first} |"))
    return [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def lesion_lines(app: AppTest) -> list[str]:
    words = ("**Grown", "**Shrunk", "**New", "**Vanished", "**Unchanged")
    return [m.value for m in app.markdown if m.value.startswith(words)]


def scan_file(values: NDArray[np.float32], grid: Grid) -> tuple[str, bytes, str]:
    scaled = np.rint(255 * values / values.max()).astype(np.uint8)
    return ("DOE_JANE_t1ce.nii.gz", write_labels(scaled, grid), "application/gzip")


def test_growth_from_half_a_millilitre_to_one_is_a_hundred_percent(app: AppTest) -> None:
    opened(app, PAGE, segmented_visit())
    upload(app, "Earlier mask", file_of(labels_of((HALF, 4), (ELSEWHERE, 4))))
    assert table(app, "Region")[2] == [
        *("Enhancing tumour (ET)", "0.6", "1.0", "+0.4", "+60 %")  # 0.625 to 1 mL
    ]
    assert lesion_lines(app) == [
        "**Grown** lesion 1: 0.5 mL → 1.0 mL, +100 %",
        "**Vanished** earlier lesion 2: 0.1 mL → none found",
    ]


def test_the_arithmetic_is_spelled_out_and_no_verdict_is_given(app: AppTest) -> None:
    opened(app, PAGE, segmented_visit())
    upload(app, "Earlier mask", file_of(labels_of((HALF, 4))))
    text = " ".join(m.value for m in (*app.markdown, *app.caption))
    assert "At least 25 % more: **yes**" in text  # from no measurable lesion to one
    assert "arithmetic, not an assessment" in text
    for verdict in ("progressive disease", "partial response", "stable disease"):
        assert verdict not in text.lower()


def test_a_button_sends_the_viewer_to_the_lesion(app: AppTest) -> None:
    opened(app, PAGE, segmented_visit())
    upload(app, "Earlier mask", file_of(labels_of((HALF, 4), (ELSEWHERE, 4))))
    app.button(key="lesion_1").click().run()
    look_at = app.session_state["kept"]["follow-up"].look_at
    assert look_at.voxel == (32, 42, 7)


def test_the_viewer_gets_the_earlier_scan_once_and_keeps_it(app: AppTest) -> None:
    opened(app, PAGE, segmented_visit())
    upload(app, "Earlier mask", file_of(labels_of((HALF, 4))))
    kept = app.session_state["kept"]["follow-up"]
    assert kept.comparison.beside is None
    values = np.random.default_rng(1).uniform(1, 2, GRID.shape).astype(np.float32)
    upload(app, "Earlier T1ce scan (optional)", scan_file(values, GRID))
    title, scan = kept.comparison.beside
    assert title == "Earlier T1ce"
    np.testing.assert_array_equal(scan.values, np.rint(255 * values / values.max()))
    shown = kept.comparison
    app.run()
    assert kept.comparison is shown


def test_masks_on_other_voxels_keep_their_numbers_and_ask_for_scans(app: AppTest) -> None:
    opened(app, PAGE, segmented_visit())
    other = Grid(GRID.shape, motion((0, 0, 5), (3, 0, 0)) @ GRID.affine)
    upload(app, "Earlier mask", file_of(labels_of((HALF, 4)), other))
    assert table(app, "Region")[2][1:3] == ["0.5", "1.0"]
    assert "Add the earlier T1ce scan" in app.error[0].value
    assert not lesion_lines(app)


def test_a_scan_that_is_not_its_masks_is_refused(app: AppTest) -> None:
    opened(app, PAGE, segmented_visit())
    upload(app, "Earlier mask", file_of(labels_of((HALF, 4))))
    grid = grid_of(4.0, (42, 50, 42))
    upload(app, "Earlier T1ce scan (optional)", scan_file(head(grid), grid))
    assert "do not lie on the same voxels" in app.error[0].value


def test_two_masks_with_scans_are_aligned_and_the_growth_is_that_of_the_formula(
    app: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = lambda earlier, current: align(earlier, current, 600.0)  # noqa: E731
    monkeypatch.setattr(two_visits, "align", patient)
    grid = grid_of(3.0, (56, 66, 56))
    truth = motion((4, -3, 5), (5, -6, 4))
    back = np.linalg.inv(truth)
    centre = np.array([30.0, 10.0, 20.0, 1.0])
    was = tuple((truth @ centre)[:3].tolist())
    now = ellipsoid(grid, (30, 10, 20), (15, 15, 15))
    before = ellipsoid(grid, was, (12, 12, 12))
    opened(app, PAGE, None)
    labels = [np.where(m, 4, 0).astype(np.uint8) for m in (now, before)]
    scans = [head(grid), carried(head(grid), grid, grid, back)]
    turned = Grid(grid.shape, grid.affine)
    for title, mask, scan in zip(("Current", "Earlier"), labels, scans, strict=True):
        upload(app, f"{title} mask", file_of(mask, turned))
        upload(app, f"{title} T1ce scan (optional)", scan_file(scan, turned))
    app.checkbox(key="again").check().run()
    assert not app.exception
    assert not app.error
    row = table(app, "Region")[2]
    paper = [4 / 3 * np.pi * r**3 / 1000 for r in (12, 15)]
    assert float(row[1]) == pytest.approx(paper[0], rel=0.03)
    assert float(row[2]) == pytest.approx(paper[1], rel=0.03)
    (line,) = lesion_lines(app)
    assert line.startswith("**Grown**")
    visits = app.session_state["kept"]["follow-up"].visits
    middle = np.argwhere(visits.labels).mean(axis=0)
    off_mm = grid.affine @ np.append(middle, 1) - centre
    assert np.linalg.norm(off_mm[:3]) < 1.0  # the earlier ball now lies where the current one does
    assert any("Head moved by" in m.value for m in app.markdown)


def test_the_nadir_is_taken_from_all_earlier_visits(app: AppTest) -> None:
    opened(app, PAGE, segmented_visit())
    small = (slice(10, 20), slice(20, 30), slice(15, 16))
    wide = (slice(5, 25), slice(20, 40), slice(15, 25))
    upload(app, "Earlier mask", file_of(labels_of((wide, 4))))
    app.button(key="add_visit").click().run()
    upload(app, "Earlier 2 mask", file_of(labels_of((small, 4))))
    rows = table(app, "Visit")
    assert [row[0] for row in rows] == ["Earlier 1", "Earlier 2", "Now"]
    sums = [float(row[2]) for row in rows]
    text = next(m.value for m in app.markdown if "**nadir**" in m.value)
    assert f"({sums[2]:.0f} − {sums[0]:.0f}) / {sums[0]:.0f}" in text
    assert f"({sums[2]:.0f} − {min(sums[:2]):.0f}) / {min(sums[:2]):.0f}" in text


def test_erase_takes_the_earlier_visits_too(app: AppTest) -> None:
    opened(app, PAGE, segmented_visit())
    upload(app, "Earlier mask", file_of(labels_of((HALF, 4))))
    app.button(key="erase").click().run()
    assert not app.exception
    assert not lesion_lines(app)
    assert "visit" not in app.session_state
    assert not any("DOE" in m.value for m in (*app.markdown, *app.caption))


def test_a_correction_counts_although_the_page_it_was_made_on_was_left_at_once(
    app: AppTest,
) -> None:
    visit = segmented_visit()
    assert visit.segmentation is not None
    labels = labels_of((CUBE, 4), (ELSEWHERE, 4))
    probabilities = np.where(regions_of(labels), np.uint8(CERTAIN), np.uint8(0))
    visit.segmentation = replace(visit.segmentation, labels=labels, probabilities=probabilities)
    _, smaller = lesions(labels, GRID)
    removed = NO_EDITS.without(removals_of([smaller], labels, Region.WT))
    visit.history = visit.history.do(removed)  # and no page was drawn since
    opened(app, PAGE, visit)
    upload(app, "Earlier mask", file_of(labels_of((HALF, 4))))
    assert table(app, "Region")[2][1:3] == ["0.5", "1.0"]  # not 1.1


def test_an_earlier_visit_that_is_dated_later_is_asked_about(app: AppTest) -> None:
    opened(app, PAGE, segmented_visit())
    upload(app, "Earlier mask", file_of(labels_of((HALF, 4))))
    earlier, current = app.date_input  # from left to right
    current.set_value(date(2026, 5, 1)).run()
    earlier.set_value(date(2026, 4, 1)).run()
    assert not app.warning
    earlier.set_value(date(2026, 6, 1)).run()
    assert "later date" in app.warning[0].value


def test_a_mask_in_metres_is_refused_until_a_person_confirms_millimetres(app: AppTest) -> None:
    name, content, kind = file_of(labels_of((HALF, 4)))
    metres = bytearray(gzip.decompress(content))
    metres[123] = 1  # xyzt_units
    opened(app, PAGE, segmented_visit())
    upload(app, "Earlier mask", (name, bytes(metres), kind))
    assert "measures in metres" in app.error[0].value
    next(box for box in app.checkbox if "millimetres" in box.label).check().run()
    assert not app.error
    assert table(app, "Region")[2][1:3] == ["0.5", "1.0"]
