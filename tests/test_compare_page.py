"""The Compare page as a person drives it; expected figures are counted on paper."""

import csv
import io
from typing import Any

import numpy as np
import pytest
import streamlit as st
from numpy.typing import NDArray
from streamlit.testing.v1 import AppTest

from pages.components import comparing
from pages.components.session import Visit
from tests.person import opened, upload
from utils.grid import Grid
from utils.intake import Intake
from utils.labels import Region
from utils.nifti import write_labels
from utils.segmentation import Provenance, Segmentation
from utils.study import Modality, Study
from utils.volume import Volume

PAGE = "pages/views/compare.py"
GRID = Grid((48, 56, 40), np.diag([-1.0, -1, 1, 1]))
CUBE = (slice(10, 20), slice(20, 30), slice(15, 25))  # 1 mL
SHIFTED = (slice(15, 25), slice(20, 30), slice(15, 25))  # half of it


def labels_of(*boxes: tuple[tuple[slice, ...], int]) -> NDArray[np.uint8]:
    labels = np.zeros(GRID.shape, np.uint8)
    for box, label in boxes:
        labels[box] = label
    return labels


def file_of(labels: NDArray[np.uint8], grid: Grid = GRID) -> tuple[str, bytes, str]:
    return ("DOE_JANE_seg.nii.gz", write_labels(labels, grid), "application/gzip")


def segmented_visit() -> Visit:
    """A study whose tumour is one millilitre of enhancement."""
    values = np.random.default_rng(0).uniform(1, 2, GRID.shape).astype(np.float32)
    study = Study({m: Volume(values.copy(), GRID) for m in Modality})
    probabilities = np.zeros((*GRID.shape, len(Region)), np.uint8)
    provenance = Provenance("fake", "0" * 64, "by hand", 1.0)
    visit = Visit(Intake(study, (), dict.fromkeys(Modality, "0" * 64)))
    visit.segmentation = Segmentation(labels_of((CUBE, 4)), probabilities, GRID, provenance)
    return visit


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    pressed: dict[str, bytes] = {}

    def press(title: str, data: Any, name: str, *_: Any, **__: Any) -> None:
        pressed[name] = data

    monkeypatch.setattr(st, "download_button", press)
    return pressed


def rows(app: AppTest) -> dict[str, list[str]]:
    """Cells of the score table by region."""
    text = next(m.value for m in app.markdown if m.value.startswith("| Region"))
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    return {line[0].split(" (")[1].rstrip(")"): line[1:] for line in lines}


def test_half_overlapping_cubes_score_what_paper_says(app: AppTest) -> None:
    opened(app, PAGE, segmented_visit())
    upload(app, "Reference mask", file_of(labels_of((SHIFTED, 4))))
    found = rows(app)
    assert found["ET"][0] == "0.500"  # 2 * 500 / (1000 + 1000)
    assert found["ET"][1] == "5.00"  # every distance is 0 to 5 mm, and more than 5 % are 5
    assert found["ET"][3:5] == ["0.500", "0.500"]
    assert found["ET"][5:] == ["1.00", "1.00", "+0.00"]
    assert found == dict.fromkeys(("WT", "TC", "ET"), found["ET"])


def test_the_difference_is_negative_where_tumour_was_missed(app: AppTest) -> None:
    opened(app, PAGE, segmented_visit())
    both = (slice(10, 30), *CUBE[1:])
    upload(app, "Reference mask", file_of(labels_of((both, 4))))
    assert rows(app)["ET"][5:] == ["1.00", "2.00", "-1.00"]
    assert rows(app)["ET"][3:5] == ["0.500", "1.000"]  # half was found, all of it right


def test_the_viewer_gets_the_reference_and_the_same_object_on_every_rerun(
    app: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    original = comparing.Comparison

    def spy(*arguments: Any, **options: Any) -> Any:
        made.append(original(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(comparing, "Comparison", spy)
    opened(app, PAGE, segmented_visit())
    upload(app, "Reference mask", file_of(labels_of((SHIFTED, 4))))
    app.run()
    assert len(made) == 1
    np.testing.assert_array_equal(made[0].labels, labels_of((SHIFTED, 4)))
    assert made[0].opens == "differences"


def test_an_empty_region_is_said_to_be_a_convention(app: AppTest) -> None:
    opened(app, PAGE, segmented_visit())
    upload(app, "Reference mask", file_of(labels_of((CUBE, 2))))
    next(b for b in app.selectbox if b.label.startswith("Its numbers")).select_index(0).run()
    found = rows(app)
    assert found["WT"][0] == "1.000"
    assert found["ET"][:3] == ["0.000", "373.13", "0.000"]
    assert any("Only the mask has enhancing tumour" in c.value for c in app.caption)


def test_numbers_that_mean_two_things_must_be_chosen_and_no_figure_comes_before(
    app: AppTest,
) -> None:
    opened(app, PAGE, segmented_visit())
    upload(app, "Reference mask", file_of(labels_of((CUBE, 3), (SHIFTED, 1))))
    assert not [m for m in app.markdown if m.value.startswith("| Region")]
    assert "do not say which coding" in app.info[0].value
    box = next(b for b in app.selectbox if b.label.startswith("Its numbers"))
    box.select_index(1).run()  # Decathlon: 1 is oedema
    assert rows(app)["TC"][6] == "0.50"
    assert rows(app)["WT"][6] == "1.50"
    next(b for b in app.selectbox if b.label.startswith("Its numbers")).select_index(0).run()
    assert rows(app)["TC"][6] == "1.50"  # BraTS 2023: 1 is necrosis


def test_a_reference_in_another_axis_order_is_put_in_order_and_that_is_said(app: AppTest) -> None:
    opened(app, PAGE, segmented_visit())
    stored = np.ascontiguousarray(labels_of((CUBE, 4)).transpose(2, 0, 1)[:, ::-1])
    affine = np.array([[0, 1, 0, -47], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    upload(app, "Reference mask", file_of(stored, Grid(stored.shape, affine)))
    assert rows(app)["ET"][0] == "1.000"
    assert any("SRP against LPS" in i.value for i in app.info)


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        (Grid(GRID.shape, GRID.affine + np.eye(4, k=3) * 0.5), "off by 0.5 mm"),
        (Grid((48, 56, 41), GRID.affine), "another number of voxels"),
    ],
)
def test_a_reference_on_other_voxels_gives_a_sentence_and_no_figure(
    app: AppTest, grid: Grid, expected: str
) -> None:
    opened(app, PAGE, segmented_visit())
    labels = np.zeros(grid.shape, np.uint8)
    labels[CUBE] = 4
    upload(app, "Reference mask", file_of(labels, grid))
    assert expected in app.error[0].value
    assert "nearest neighbour" in app.error[0].value
    assert not [m for m in app.markdown if m.value.startswith("| Region")]


def test_a_file_that_is_no_mask_gives_a_sentence(app: AppTest) -> None:
    opened(app, PAGE, segmented_visit())
    upload(app, "Reference mask", ("DOE_JANE_seg.nii", b"GIF89a no mask", "application/gzip"))
    assert app.error[0].value.startswith("Reference mask (…seg.nii)")
    assert "DOE" not in app.error[0].value


def test_two_masks_alone_are_compared_on_plain_slices(app: AppTest) -> None:
    opened(app, PAGE, None)
    upload(app, "Mask to be judged", file_of(labels_of((CUBE, 4))))
    upload(app, "Reference mask", file_of(labels_of((SHIFTED, 4))))
    assert rows(app)["WT"][0] == "0.500"
    assert app.slider


def test_the_table_is_taken_home_under_a_name_of_our_own(
    app: AppTest, downloads: dict[str, bytes]
) -> None:
    visit = segmented_visit()
    opened(app, PAGE, visit)
    upload(app, "Reference mask", file_of(labels_of((SHIFTED, 4))))
    (name,) = downloads
    assert name == f"comparison-{visit.token}.csv"
    table = list(csv.reader(io.StringIO(downloads[name].decode())))
    assert table[0][:3] == ["Region", "Dice", "HD95 (mm)"]
    assert [float(cell) for cell in table[3][1:3]] == [0.5, 5.0]
    assert b"DOE" not in downloads[name]


def test_the_reference_stays_while_another_page_is_open_and_goes_when_removed(
    app: AppTest,
) -> None:
    opened(app, PAGE, segmented_visit())
    upload(app, "Reference mask", file_of(labels_of((SHIFTED, 4))))
    app.switch_page("pages/views/guide.py").run()
    app.switch_page("pages/views/segment.py").run()
    for _ in range(3):  # the Segment page drops what it can make again
        app.run()
    app.switch_page(PAGE).run()
    assert rows(app)["ET"][0] == "0.500"
    app.button(key="remove_reference").click().run()
    assert not [m for m in app.markdown if m.value.startswith("| Region")]
    assert [u.label for u in app.file_uploader] == ["Reference mask"]


def test_erase_takes_the_reference_too(app: AppTest) -> None:
    opened(app, PAGE, segmented_visit())
    upload(app, "Reference mask", file_of(labels_of((SHIFTED, 4))))
    app.switch_page("pages/views/segment.py").run()
    app.button(key="erase").click().run()
    app.switch_page(PAGE).run()
    assert not [m for m in app.markdown if m.value.startswith("| Region")]
    assert "memo" not in app.session_state or "judged" not in app.session_state["memo"]
    kept = app.session_state["kept"]
    assert all(getattr(value, "label_map", None) is None for value in kept.values())
