"""The Python side of the component: what it sends, what it believes."""

import gc
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from pages.components import viewer as viewer_module
from pages.components.viewer import (
    Comparison,
    LookAt,
    _comparison_data,
    _layer,
    _look_at_data,
    _segmentation_data,
    _start,
    _state,
    forget,
    viewer,
)
from pages.components.viewer.encode import DisplayGrid, encode_bytes
from pages.components.viewer.store import STORE
from tests.browser.viewer_phantom import (
    GRIDS,
    SHAPE,
    make_earlier_visit,
    make_segmentation,
    make_study,
)
from utils.correct import Edits, corrected
from utils.grid import Grid
from utils.labels import TUMOUR_LABELS, Label
from utils.overlay import BOTH, ONLY_FIRST, ONLY_SECOND
from utils.plane import Plane
from utils.segmentation import Segmentation
from utils.study import Modality

APP = Path(__file__).parents[1] / "browser" / "viewer_app.py"
START = (1, 2, 3)


@pytest.fixture
def display() -> DisplayGrid:
    return DisplayGrid.of(Grid(SHAPE, GRIDS["lps"]))


def test_a_page_with_the_viewer_runs_without_a_browser() -> None:
    page = AppTest.from_file(str(APP)).run(timeout=30)
    assert not page.exception
    assert page.text[0].value.startswith("state AXIAL")


def test_the_viewer_says_so_when_there_is_no_session() -> None:
    study = make_study("canonical")
    with pytest.raises(RuntimeError, match="belongs to a Streamlit session"):
        viewer(study, None, key="viewer")


def test_a_report_is_turned_into_the_studys_own_voxels(display: DisplayGrid) -> None:
    report = {"voxel": [0, 1, 2], "plane": "coronal", "modality": "t2"}
    state = _state(report, display, START)
    assert (state.plane, state.modality) == (Plane.CORONAL, Modality.T2)
    assert state.voxel == (39, 46, 2)


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        "text",
        {},
        {"voxel": [1, 2], "plane": "axial", "modality": "t1"},
        {"voxel": ["a", 2, 3], "plane": "axial", "modality": "t1"},
        {"voxel": [1e400, 2, 3], "plane": "axial", "modality": "t1"},
        {"voxel": [1, 2, 3], "plane": "<b>", "modality": "t1"},
        {"voxel": [1, 2, 3], "plane": "axial", "modality": "pet"},
    ],
)
def test_a_report_that_no_viewer_sends_is_not_believed(display: DisplayGrid, nonsense: Any) -> None:
    state = _state(nonsense, display, START)
    assert state.voxel == display.study_voxel(START)
    assert (state.plane, state.modality) == (Plane.AXIAL, Modality.FLAIR)


def test_a_voxel_outside_the_study_is_brought_back_to_its_border(display: DisplayGrid) -> None:
    report = {"voxel": [-5, 9999, 2], "plane": "axial", "modality": "t1"}
    assert _state(report, display, START).voxel == (39, 0, 2)
    data = _look_at_data(LookAt((999, -1, 2), Plane.SAGITTAL), display)
    assert data is not None
    assert (data["voxel"], data["plane"]) == ((0, 47, 2), "sagittal")


def test_every_request_to_look_somewhere_is_a_new_one() -> None:
    assert LookAt((1, 2, 3)).request != LookAt((1, 2, 3)).request


@pytest.mark.parametrize("grid_name", GRIDS)
def test_the_viewer_starts_inside_the_fullest_axial_slice(grid_name: str) -> None:
    study = make_study(grid_name)
    plain = make_segmentation(study)
    labels = np.zeros(SHAPE, np.uint8)
    axis = Plane.AXIAL.array_axis(study.grid)
    small, large = np.moveaxis(labels, axis, 0)[3], np.moveaxis(labels, axis, 0)[11]
    small[5:7, 5:7] = 1
    large[5:20:3, 10] = 2  # spread out: the centre of gravity is not in it by itself
    large[5:8, 5:8] = 4
    segmentation = Segmentation(labels, plain.probabilities, study.grid, plain.provenance)
    display = DisplayGrid.of(study.grid)
    voxel = display.study_voxel(_start(segmentation, display))
    assert voxel[axis] == 11
    assert labels[voxel] > 0


def test_the_legend_shows_a_volume_as_the_page_does() -> None:
    volume_ml = 41.846  # to hundredths and then to tenths it would be 41.9
    line = _layer("ET", "Enhancing tumour", {Label.ET}, {Label.ET: volume_ml})
    assert f"{line['ml']:.1f}" == f"{volume_ml:.1f}" == "41.8"


@pytest.mark.parametrize(
    "edits", [Edits(thresholds=(0.4, 0.5, 0.5)), Edits(fill_holes=True), Edits(smallest_ml=2.0)]
)
def test_a_corrected_mask_is_known_as_one(edits: Edits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer_module, "_session", lambda: "anna")
    own = make_segmentation(make_study("canonical"))
    assert [sent(own)["corrected"], sent(corrected(own, edits))["corrected"]] == [False, True]


def test_probabilities_keep_their_addresses_while_labels_are_corrected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(viewer_module, "_session", lambda: "anna")
    own = make_segmentation(make_study("canonical"))
    edited = corrected(own, Edits(fill_holes=True))
    first, second = sent(own), sent(edited)
    assert first["token"] != second["token"]
    assert first["probabilities"] == second["probabilities"]
    tokens = [p["token"] for p in first["probabilities"]]
    for index, token in enumerate(tokens):
        pending = STORE.payload(token)
        assert pending is not None
        assert pending.result(30) == encode_bytes(own.probabilities[..., index], own.grid)
    forget(own)
    assert not any(STORE.alive(token) for token in tokens)


def test_probabilities_that_nobody_asked_for_die_with_their_segmentation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(viewer_module, "_session", lambda: "anna")
    own = make_segmentation(make_study("canonical"))
    data = sent(own)
    tokens = [data["token"], *(p["token"] for p in data["probabilities"])]
    pending = STORE.payload(data["token"])
    assert pending is not None
    pending.result(30)
    del own
    gc.collect()
    assert not any(STORE.alive(token) for token in tokens)


def test_an_earlier_visit_has_addresses_of_its_own_in_every_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    visit = make_earlier_visit(make_study("lps"))
    tokens = []
    for session in ("anna", "bert"):
        monkeypatch.setattr(viewer_module, "_session", lambda session=session: session)
        data = _comparison_data(visit)
        assert data is not None
        assert data["beside"]["title"] == "Earlier T1ce"
        assert list(Modality)[data["beside"]["like"]] is Modality.T1CE
        tokens += [data["token"], data["beside"]["token"]]
    assert len(set(tokens)) == 4
    assert all(STORE.alive(token) for token in tokens)
    forget(visit)
    assert not any(STORE.alive(token) for token in tokens)


def test_a_scan_that_lies_elsewhere_is_not_put_beside() -> None:
    study = make_study("lps")
    visit = make_earlier_visit(make_study("canonical"))
    with pytest.raises(ValueError, match="Earlier T1ce does not lie on the study's grid"):
        Comparison("Earlier mask", visit.labels, study.grid, beside=visit.beside)


def sent(segmentation: Segmentation) -> dict[str, Any]:
    data = _segmentation_data(segmentation)
    assert data is not None
    return data


def simulated(colour: tuple[int, int, int], matrix: np.ndarray) -> np.ndarray:
    """How a colour looks to a colour-blind reader, linear light in and out."""
    channel = np.array(colour) / 255
    linear = np.where(channel <= 0.04045, channel / 12.92, ((channel + 0.055) / 1.055) ** 2.4)
    return np.clip(matrix @ linear, 0, 1)


# Machado, Oliveira and Fernandes 2009, severity 1.0
BLINDNESSES = {
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


PALETTES = {
    "labels": [label.colour for label in TUMOUR_LABELS],
    "differences": [ONLY_FIRST, ONLY_SECOND, BOTH],
}


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("blindness", BLINDNESSES)
def test_colours_stay_apart_for_colour_blind_readers(blindness: str, palette: str) -> None:
    matrix = np.array(BLINDNESSES[blindness])
    for one, other in combinations(PALETTES[palette], 2):
        a, b = lab(simulated(one, matrix)), lab(simulated(other, matrix))
        assert np.linalg.norm(a - b) > 20, (one, other)  # CIE76; 2.3 is just noticeable


def lab(linear: np.ndarray) -> np.ndarray:
    """Convert linear sRGB to CIE L*a*b*, D65."""
    rows = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    to_xyz = np.array(rows)
    x, y, z = np.cbrt((to_xyz @ linear) / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])
