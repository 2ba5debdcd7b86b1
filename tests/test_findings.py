"""What the page says and lets one do after a segmentation: two lesions of 4 mL and 0.5 mL."""

import gzip
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import streamlit as st
from numpy.typing import NDArray
from streamlit.testing.v1 import AppTest

from model.predict import Network
from model.reliability import Reliability
from pages.components import correct, downloads, findings
from pages.components import engine as engine_module
from pages.components.session import Visit
from utils.cohort import PERCENTS, Cohort
from utils.correct import NO_EDITS, removals_of
from utils.errors import UserError
from utils.grid import Grid
from utils.intake import Intake
from utils.labels import Label, Region
from utils.measure import lesions
from utils.nifti import write_labels
from utils.postprocess import labels_and_specks
from utils.segmentation import CERTAIN, Provenance, Segmentation
from utils.sidecar import Result
from utils.study import Modality, Study
from utils.volume import Volume

ROOT = Path(__file__).parents[1]
GRID = Grid((60, 50, 40), np.diag([-1.0, -1, 1, 1]))  # LPS: the patient's right has low i
LARGE, SMALL = (slice(5, 25), slice(10, 30), slice(10, 20)), (slice(40, 50),) * 2 + (slice(20, 25),)
RIM = (slice(25, 30), slice(10, 30), slice(10, 20))  # 1 mL beside the large one, probability 0.36


def network() -> Network:
    return Network(lambda t: t[..., :3], (60, 50, 40), "fake", "0" * 64, "by hand")


def visit_of(probabilities: NDArray[np.float64]) -> Visit:
    """A visit that has been segmented; the head fills the grid, so its midline is at x = -29.5."""
    scan = Volume(np.ones(GRID.shape, np.float32), GRID)
    study = Study(dict.fromkeys(Modality, scan))
    stored = np.rint(probabilities * CERTAIN).astype(np.uint8)
    made_by = Provenance("fake", "0" * 64, "by hand", 1.0, ("reoriented",))
    segmentation = Segmentation(labels_and_specks(stored, GRID)[0], stored, GRID, made_by)
    visit = Visit(Intake(study, (), dict.fromkeys(Modality, "0" * 64)))
    visit.segmentation = segmentation
    visit.mask = write_labels(segmentation.labels, GRID)
    return visit


@pytest.fixture
def visit() -> Visit:
    probabilities = np.zeros((*GRID.shape, 3))
    probabilities[LARGE] = 0.9  # enhances: 20 x 20 mm
    probabilities[(*SMALL, 0)] = 0.9
    probabilities[(*RIM, 0)] = 0.36
    return visit_of(probabilities)


@pytest.fixture(autouse=True)
def _setting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(engine_module, "load_network", network)
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


def opened(visit: Visit) -> AppTest:
    app = AppTest.from_file(ROOT / "app.py", default_timeout=120)
    app.session_state["visit"] = visit
    app.run()
    assert not app.exception
    return app


def press(app: AppTest, key: str) -> AppTest:
    assert not app.button(key=key).disabled
    app.button(key=key).click().run()
    assert not app.exception
    return app


def whole(app: AppTest) -> str:
    return app.metric[0].value


def written(app: AppTest) -> str:
    return "\n".join(element.value for element in (*app.markdown, *app.caption))


def labels_in(mask: bytes | None) -> NDArray[np.uint8]:
    assert mask is not None
    return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(mask)).dataobj)


def test_lesions_are_told_with_side_size_diameters_and_sum(visit: Visit) -> None:
    text = written(opened(visit))
    for expected in ("right hemisphere", "left hemisphere", "4.0 mL", "0.5 mL"):
        assert expected in text
    assert "20 × 20 × 10" in text
    assert "10 × 10 × 5" in text
    # a square of 20 mm: its half-pixel corners cut, the diagonals are 27 to 28.3 mm long
    longest, perpendicular = map(int, re.search(r"(\d+) × (\d+) mm\n", text).groups())  # type: ignore[union-attr]
    assert 27 <= perpendicular <= longest <= 28
    total = int(re.search(r"Sum of products: (\d+) mm², 1 measurable", text).group(1))  # type: ignore[union-attr]
    assert 27**2 <= total <= 28.3**2


def test_removing_one_leaves_exactly_the_other_in_number_mask_and_file(visit: Visit) -> None:
    app = opened(visit)
    assert whole(app) == "4.5 mL"
    models, models_mask = visit.segmentation, visit.mask
    press(app, "remove_WT_1")
    assert whole(app) == "0.5 mL"
    assert [m.value for m in app.metric][1:] == ["none found"] * 2
    assert visit.edited is not None
    assert (visit.edited.labels[SMALL] == Label.ED).all()
    assert np.count_nonzero(visit.edited.labels) == 500
    np.testing.assert_array_equal(labels_in(visit.edited_mask), visit.edited.labels)
    assert (visit.segmentation, visit.mask) == (models, models_mask)
    assert [m.delta for m in app.metric] == ["-4.0 mL by you"] * 3
    assert "corrected" in app.markdown[0].value
    assert "| Whole tumour | 0.5 mL | 4.5 mL |" in written(app)  # now, and the model's own
    assert "removed whole tumour, 4.00 mL at (-14, -20, 14) mm" in written(app)


def test_the_download_is_what_is_shown(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    offered: dict[str, Any] = {}
    monkeypatch.setattr(
        st, "download_button", lambda title, data, *_, **__: offered.update({title: data})
    )
    app = opened(visit)
    assert offered["Mask"] == visit.mask
    press(app, "remove_WT_2")
    assert np.count_nonzero(labels_in(offered["Mask"])) == 4000
    assert b"removed whole tumour" in offered["JSON"]()
    press(app, "remove_WT_1")
    assert not labels_in(offered["Mask"]).any()


def test_keeping_only_one_removes_the_others(visit: Visit) -> None:
    app = press(opened(visit), "only_WT_1")
    assert whole(app) == "4.0 mL"
    assert [m.delta for m in app.metric] == ["-0.5 mL by you", "unchanged", "unchanged"]


def test_undo_redo_and_reset_walk_the_page_back_and_forth(visit: Visit) -> None:
    app = opened(visit)
    app.toggle(key="correct").set_value(True).run()
    assert app.button(key="undo").disabled
    press(app, "remove_WT_1")
    press(app, "remove_WT_1")  # the other one: it is the largest now
    assert whole(app) == "none found"
    assert whole(press(app, "undo")) == "0.5 mL"
    assert whole(press(app, "undo")) == "4.5 mL"
    assert visit.edits == NO_EDITS
    assert (visit.edited, visit.edited_mask) == (None, None)
    assert whole(press(app, "redo")) == "0.5 mL"
    assert whole(press(app, "reset")) == "4.5 mL"
    assert whole(press(app, "undo")) == "0.5 mL"
    assert whole(press(app, "put_back_0")) == "4.5 mL"


def test_thresholds_smallest_size_and_undo_of_them(visit: Visit) -> None:
    app = opened(visit)
    app.toggle(key="correct").set_value(True).run()
    app.slider[0].set_value(35).run()
    assert whole(app) == "5.5 mL"
    app.number_input[0].set_value(0.6).run()
    assert whole(app) == "5.0 mL"
    press(app, "undo")
    assert (app.slider[0].value, app.number_input[0].value) == (35, 0.1)
    press(app, "undo")
    assert app.slider[0].value == 40
    assert whole(app) == "4.5 mL"
    app.slider[0].set_value(95).run()
    assert whole(app) == "none found"


def test_a_click_on_a_lesion_sends_the_reader_into_it(visit: Visit) -> None:
    app = press(opened(visit), "look_WT_2")
    assert visit.look_at is not None
    assert visit.segmentation is not None
    assert visit.segmentation.labels[visit.look_at.voxel] == Label.ED
    press(app, "look_WT_1")
    assert visit.segmentation.labels[visit.look_at.voxel] == Label.ET


def test_a_click_on_a_doubtful_slice_sends_the_reader_there(visit: Visit) -> None:
    app = opened(visit)
    # most doubt: 100 rim voxels at 0.36 and 400 at 0.1 on each of the slices 10 to 19
    assert re.fullmatch(r"Axial (1[1-9]|20): 0\.1 mL in doubt", app.button(key="doubt_0").label)
    press(app, "doubt_0")
    assert visit.look_at is not None
    i, j, k = visit.look_at.voxel
    assert (20 <= i < 30, 10 <= j < 30, 10 <= k < 20) == (True, True, True)


def test_a_doubtful_slice_of_a_file_stored_head_first_has_the_viewers_number(visit: Visit) -> None:
    grid = Grid(GRID.shape, np.diag([-1.0, -1, -1, 1]))
    scan = Volume(np.ones(GRID.shape, np.float32), grid)
    assert visit.segmentation is not None
    visit.intake = Intake(Study(dict.fromkeys(Modality, scan)), (), visit.intake.sha256)
    visit.segmentation = replace(visit.segmentation, grid=grid)
    label = opened(visit).button(key="doubt_0").label
    # the slices 10 to 19 of 40, counted from the other end
    assert re.fullmatch(r"Axial (2[1-9]|30): 0\.1 mL in doubt", label)


def test_foci_that_share_an_oedema_have_rows_of_their_own_and_can_be_refused() -> None:
    probabilities = np.zeros((*GRID.shape, 3))
    probabilities[5:45, 5:30, 5:20, 0] = 0.9
    probabilities[8:20, 8:20, 8:18] = 0.9
    probabilities[30:40, 8:20, 8:18] = 0.9
    visit = visit_of(probabilities)
    app = opened(visit)
    assert "2 foci" in written(app)
    assert {"1a", "1b"} <= {button.label for button in app.button}
    enhancing = app.metric[2].value
    assert enhancing == "2.6 mL"  # 1440 + 1200 voxels
    press(app, "remove_TC_2")
    assert [m.value for m in app.metric] == ["15.0 mL", "1.4 mL", "1.4 mL"]


def test_the_table_gives_the_share_of_the_cohort_that_is_smaller(visit: Visit) -> None:
    text = written(opened(visit))
    assert "361 BraTS 2020 patients" in text
    # 4.5 mL of whole tumour is less than anybody's there (7.15 mL)
    row = next(line for line in text.splitlines() if line.startswith("| Whole tumour | 4.5 mL |"))
    assert row.endswith("| 0% |")


def test_each_region_is_compared_with_the_same_region_of_the_cohort(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 4.5, 4 and 4 mL among 0 to 9, 0 to 10 and 0 to 5 mL
    quantiles = {
        region: PERCENTS * ml for region, ml in zip(Region, (0.09, 0.1, 0.05), strict=True)
    }
    monkeypatch.setattr(findings, "cohort", lambda: Cohort("few", 101, quantiles))
    rows = [line for line in written(opened(visit)).splitlines() if line.endswith("% |")]
    assert [row.split(" | ")[-1] for row in rows] == ["50% |", "40% |", "80% |"]


def test_the_likely_range_stands_beside_the_models_numbers_and_no_others(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    # nine patients whose volumes were off by factors up to 4, 3 and 2
    errors = {r: [0.1] * 8 + [np.log(n)] for n, r in zip((4, 3, 2), Region, strict=True)}
    known = Reliability(errors, dict.fromkeys(Region, [0.05] * 8 + [0.2]))
    # as much in doubt as they were: by 0.5 and the half that is always added
    monkeypatch.setattr(findings, "volume_spreads", lambda _: dict.fromkeys(Region, 0.5))
    monkeypatch.setattr(findings, "shipped_reliability", lambda: known)
    app = opened(visit)
    # (4.5 + 1) / 4 - 1 = 0.375 and (4.5 + 1) * 4 - 1 = 21; of the other two 4 mL
    expected = ["likely 0 to 21 mL", "likely 1 to 14 mL", "likely 1.5 to 9.0 mL"]
    assert [m.delta for m in app.metric] == expected
    assert "on 9 patients the network never saw" in written(app)
    assert written(app).count("0.95 (0.80 to 0.95)") == 3
    monkeypatch.setattr(downloads, "shipped_reliability", lambda: known)
    monkeypatch.setattr(downloads, "volume_spreads", lambda _: dict.fromkeys(Region, 0.5))
    assert visit.segmentation is not None
    result = Result(visit.intake.study, visit.segmentation, visit.intake.sha256, b"")
    printed = downloads._notes(result, "").intervals_ml.values()
    assert [*printed] == [pytest.approx(ml) for ml in ((0.375, 21), (2 / 3, 14), (1.5, 9))]
    press(app, "remove_WT_1")
    assert app.metric[0].delta == "-4.0 mL by you"
    assert "never saw" not in written(app)


def test_a_corrected_mask_that_fails_its_check_is_not_offered(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> bytes:
        raise UserError("The mask failed its check after writing and is not offered.")

    app = opened(visit)
    monkeypatch.setattr(correct, "write_labels", fail)
    press(app, "remove_WT_1")
    assert "failed its check" in app.error[0].value
    assert visit.edited_mask is None
    assert not app.get("download_button")
    monkeypatch.undo()


def test_a_second_click_on_put_back_puts_nothing_else_back(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert visit.segmentation is not None
    labels = visit.segmentation.labels
    first, second = removals_of(lesions(labels, GRID), labels, Region.WT)
    visit.history = visit.history.do(NO_EDITS.without([first, second]))
    monkeypatch.setattr(correct, "current_visit", lambda: visit)
    for _ in range(2):  # the second before the page is drawn anew
        correct._put_back(hash(first))
        assert visit.edits.removed == (second,)
