"""The page holds what was measured, whatever the case; read from its figure."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from utils.grid import Grid
from utils.labels import Label, Region
from utils.measure import lesions
from utils.plane import Plane
from utils.render import RESEARCH_USE, Style, View, key_slice, lettered_rgb
from utils.report import NO_NOTES, ReportNotes, report_figure, report_pdf
from utils.segmentation import Provenance, Segmentation
from utils.sidecar import Result, provenance_line
from utils.study import Modality, Study
from utils.volume import Volume

NOT_AXIAL = (Plane.CORONAL, Plane.SAGITTAL)
SHAPE = (40, 40, 40)
GRID = Grid(SHAPE, np.diag([-1.0, -1.0, 2.0, 1.0]))  # voxels of 2 microlitres, LPS


def segmentation_of(labels: np.ndarray, notices: tuple[str, ...] = ()) -> Segmentation:
    made_by = Provenance(
        *("unet-1", "ab" * 32, "CPU", 3.5, ("Scaled.",), notices),
        finished_utc="2026-01-02T03:04:05Z",
    )
    return Segmentation(labels, np.zeros((*SHAPE, len(Region)), np.uint8), GRID, made_by)


@pytest.fixture
def study() -> Study:
    values = np.random.default_rng(0).uniform(1, 2, SHAPE).astype(np.float32)
    return Study({modality: Volume(values, GRID) for modality in Modality})


@pytest.fixture
def tumour() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[25:37, 5:35, 10:20] = Label.ED  # 3600 voxels
    labels[26:36, 6:7, 10:20] = Label.ET  # 100 voxels, a row of 10 mm on each slice
    return labels


def result_of(segmentation: Segmentation, study: Study) -> Result:
    return Result(study, segmentation, dict.fromkeys(Modality, "0" * 64), b"a mask")


def table(page: list[str]) -> list[str]:
    """The cells below "Volumes"."""
    return page[page.index("Volumes") + 1 : page.index("Lesions")]


def words(segmentation: Segmentation, study: Study, notes: ReportNotes = NO_NOTES) -> list[str]:
    figure = report_figure(result_of(segmentation, study), notes)
    return [text.get_text() for text in figure.texts]


def test_report_states_volumes_lesions_and_where_they_come_from(
    study: Study, tumour: np.ndarray
) -> None:
    page = words(segmentation_of(tumour, ("Thick slices.",)), study)
    assert RESEARCH_USE in page
    assert "Segmented 2026-01-02 03:04 UTC by brain-tumour-segmentation 0.1.0" in page
    assert table(page) == [
        *("Whole tumour", "7.2 mL", "Tumour core", "0.2 mL", "Enhancing tumour", "0.2 mL"),
        *("Necrotic and non-enhancing core", "none found", "Oedema", "7.0 mL"),
    ]
    row = page.index("Product") + 1
    # index 0 grows to the patient's left, the lesion lies beyond the middle; 10 mm by 1 mm
    expected = ["1", "left", "7.2 mL", "0.2 mL", "0.2 mL", "10 x 1 mm", "10 mm², not measurable"]
    assert page[row : row + 7] == expected
    assert "- Thick slices." in page
    assert "- Scaled." in page
    assert f"- Model unet-1 on CPU, weights {'ab' * 32}" in page


def test_expected_error_stands_beside_its_volume(study: Study, tumour: np.ndarray) -> None:
    notes = ReportNotes("", {Region.ET: (0.1, 0.4)}, 0.85)
    page = words(segmentation_of(tumour), study, notes)
    assert table(page) == [
        *("", "", "85% of comparable cases lie within"),
        *("Whole tumour", "7.2 mL", "", "Tumour core", "0.2 mL", ""),
        *("Enhancing tumour", "0.2 mL", "0.1 to 0.4 mL"),
        *("Necrotic and non-enhancing core", "none found", "", "Oedema", "7.0 mL", ""),
    ]


def test_a_corrected_mask_is_said_to_be_one_beside_what_the_model_had_found(
    study: Study, tumour: np.ndarray
) -> None:
    own = result_of(segmentation_of(tumour), study)
    without = np.where(tumour == Label.ET, np.uint8(Label.ED), tumour)
    corrected = replace(own, segmentation=segmentation_of(without), own=own)
    page = [text.get_text() for text in report_figure(corrected, NO_NOTES).texts]
    assert any(line.endswith("Corrected by a reader.") for line in page)
    assert table(page) == [
        *("", "", "Model's own"),
        *("Whole tumour", "7.2 mL", "7.2 mL", "Tumour core", "none found", "0.2 mL"),
        *("Enhancing tumour", "none found", "0.2 mL"),
        *("Necrotic and non-enhancing core", "none found", "none found"),
        *("Oedema", "7.2 mL", "7.0 mL"),
    ]


def test_foci_have_the_names_that_the_list_gives_them(study: Study) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:38, 2:38, 10:20] = Label.ED
    labels[4:16, 4:20, 12:18] = Label.ET  # 1152 voxels of 2 microlitres
    labels[20:32, 4:16, 12:16] = Label.ET  # 576
    result = result_of(segmentation_of(labels), study)
    page = [text.get_text() for text in report_figure(result, NO_NOTES).texts]
    row = page.index("Product") + 1
    lines = [page[at : at + 7] for at in range(row, row + 21, 7)]
    assert [line[0] for line in lines] == ["1", "1a", "1b"]
    assert [line[0] for line in lines] == [entry.name for entry in result.burden.entries]
    assert lines[0][2:] == ["25.9 mL", "3.5 mL", "3.5 mL", "2 foci", ""]
    assert [line[2:5] for line in lines[1:]] == [["", "2.3 mL", "2.3 mL"], ["", "1.2 mL", "1.2 mL"]]
    products = [e.diameters.product_mm2 for e in result.burden.entries if e.diameters]
    total = next(text for text in page if text.startswith("Sum of the products"))
    assert f": {sum(products):.0f} mm²." in total


def test_pictures_show_flair_and_t1ce_with_the_diameters_where_they_were_measured(
    tumour: np.ndarray,
) -> None:
    tumour[26:36, 6:8, 12] = Label.ET  # most enhancement on slice 12, most tumour on slice 15
    tumour[20:25, 5:35, 15] = Label.ED
    rng = np.random.default_rng(0)
    scans = {m: Volume(rng.uniform(1, 2, SHAPE).astype(np.float32), GRID) for m in Modality}
    segmentation = segmentation_of(tumour)
    figure = report_figure(result_of(segmentation, Study(scans)), NO_NOTES)
    (lesion,) = lesions(tumour, GRID, Region.TC)
    style = Style(outline=True, diameters=(lesion.diameters,), longest_side_px=360)
    planes = (View(Plane.AXIAL, 12), *(View(p, key_slice(tumour, GRID, p)) for p in NOT_AXIAL))
    expected = [
        lettered_rgb(scans[modality], tumour, view, style)
        for modality in (Modality.FLAIR, Modality.T1CE)
        for view in planes
    ]
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert len(shown) == len(expected) == 6
    assert all(np.array_equal(a, b) for a, b in zip(shown, expected, strict=True))
    assert "FLAIR: slices axial 13," in figure.texts[3].get_text()


def test_slices_are_numbered_as_in_the_viewer_when_the_file_is_stored_head_first(
    tumour: np.ndarray,
) -> None:
    tumour[26:36, 6:8, 12] = Label.ET  # most enhancement on slice 12 from the feet
    flipped = np.ascontiguousarray(tumour[:, :, ::-1])
    affine = GRID.affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 39], [0, 0, 0, 1.0]])
    grid = Grid(SHAPE, affine)
    values = np.random.default_rng(0).uniform(1, 2, SHAPE).astype(np.float32)
    pages = []
    for labels, where, stored in ((tumour, GRID, values), (flipped, grid, values[:, :, ::-1])):
        study = Study({m: Volume(np.ascontiguousarray(stored), where) for m in Modality})
        segmentation = replace(segmentation_of(labels), grid=where)
        pages.append(words(segmentation, study))
    captions = [next(text for text in page if text.startswith("FLAIR: slices")) for page in pages]
    assert captions[0] == captions[1]
    assert "axial 13," in captions[1]


def test_pictures_show_the_head_and_not_the_air_around_it(tumour: np.ndarray) -> None:
    values = np.zeros(SHAPE, np.float32)
    values[20:38, 4:36, 16:24] = 100  # 18 x 32 x 16 mm, and 12 mm around it where there is room
    study = Study({modality: Volume(values, GRID) for modality in Modality})
    labels = np.zeros(SHAPE, np.uint8)
    labels[25:35, 6:16, 18:22] = Label.ET
    figure = report_figure(result_of(segmentation_of(labels), study), NO_NOTES)
    heights_and_widths = [axes.images[0].get_array().shape[:2] for axes in figure.axes[:3]]
    # axial: 32 + 4 + 4 mm by 18 + 12 + 2 mm; coronal: 16 + 12 + 12 mm by 32 mm; sagittal: by 40
    assert heights_and_widths == [(360, 288), (360, 288), (360, 360)]
    white = (figure.axes[0].images[0].get_array() == 255).all(axis=-1)
    assert white.sum(axis=1).max() > 60  # a diameter of 10 mm, at 9 pixels a mm


def test_no_tumour_is_said_aloud(study: Study) -> None:
    page = words(segmentation_of(np.zeros(SHAPE, np.uint8)), study)
    assert table(page)[:6] == [
        *("Whole tumour", "none found", "Tumour core", "none found"),
        *("Enhancing tumour", "none found"),
    ]
    assert "None found. That is no proof that there is none." in page


def test_a_volume_that_rounds_to_nothing_is_not_printed_as_nothing(study: Study) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[3, 3, 3] = Label.ED
    assert table(words(segmentation_of(labels), study))[1] == "under 0.1 mL"


def test_side_is_unknown_without_a_head(tumour: np.ndarray) -> None:
    blank = Study({m: Volume(np.zeros(SHAPE, np.float32), GRID) for m in Modality})
    assert "unknown" in words(segmentation_of(tumour), blank)


def test_typed_text_is_printed_as_typed_and_never_as_a_formula(
    study: Study, tumour: np.ndarray
) -> None:
    typed = r"Room $5^ & $\alpha$"
    page = report_figure(result_of(segmentation_of(tumour), study), ReportNotes(typed))
    line = next(text for text in page.texts if text.get_text() == typed)
    assert not line.get_parse_math()


def test_typed_text_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 55 characters"):
        ReportNotes("x" * 56)


def test_a_crowded_page_keeps_everything_on_it_and_says_what_it_left_out(study: Study) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:38:4, 2:38:4, 2] = Label.ET  # 81 lesions
    notices = tuple(f"Notice {n} " + "and more words " * 20 for n in range(40))
    figure = report_figure(
        result_of(segmentation_of(labels, notices), study), ReportNotes("W" * 55)
    )
    page = [text.get_text() for text in figure.texts]
    assert "and 75 more, in the table of volumes (CSV)" in page
    assert page[-1].endswith("lines more, in the sidecar file")
    figure.canvas.draw()
    for text in figure.texts:
        extent = text.get_window_extent().transformed(figure.transFigure.inverted())
        assert extent.x0 >= 0, text
        assert extent.y0 >= 0, text
        assert extent.x1 <= 1, text


def test_pdf_is_one_page_and_the_same_byte_for_byte(study: Study, tumour: np.ndarray) -> None:
    result = result_of(segmentation_of(tumour), study)
    pdf = report_pdf(result)
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page ") == 1
    assert b"CreationDate" not in pdf
    assert report_pdf(result) == pdf


def test_the_pdfs_own_keywords_are_its_provenance(study: Study, tumour: np.ndarray) -> None:
    result = result_of(segmentation_of(tumour), study)
    pdf = report_pdf(result)
    keywords = pdf.split(b"/Keywords (", 1)[1].split(b")\n", 1)[0]
    stated = re.sub(rb"\\(.)", rb"\1", keywords).decode()
    assert json.loads(stated) == json.loads(provenance_line(result))
