"""Left stays left in everything that is looked at, whatever the order of the upload's axes.

One head with one lesion, 16 mm to the patient's left of the middle, 12 mm before and 8 mm above it,
is stored in all 48 ways, straight and tilted. Where it must appear is known on paper.
"""

import io
from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from utils.export import picture_png
from utils.grid import Grid
from utils.labels import Label, Region
from utils.measure import Side, lesions, midline_x_mm
from utils.plane import Plane
from utils.render import Style, View, key_slice, slice_png, thumbnail
from utils.report import NO_NOTES, report_figure
from utils.segmentation import Provenance, Segmentation
from utils.sidecar import Result
from utils.study import Modality, Study
from utils.volume import Volume

LEFT_FRONT_TOP_MM = np.array([-16.0, 12.0, 8.0])  # RAS+
HEAD_MM, LESION_MM = 28.0, 6.0  # radii
EXTENT_MM = 60.0
SPACING_MM = np.array([1.0, 1.5, 2.0])  # along the body's x, y and z
TILT_DEGREES = 11.0
TOLERANCE_MM = (
    7.0  # what the tilt moves it by, and half a slice; a flip would move it by 16 or more
)

# how far to the right and down in the picture the lesion lies from the middle
EXPECTED_MM = {
    Plane.AXIAL: (16.0, -12.0),  # left is right, front is up
    Plane.CORONAL: (16.0, -8.0),  # left is right, head is up
    Plane.SAGITTAL: (-12.0, -8.0),  # front is left, head is up
}
WAYS = [
    pytest.param(axes, signs, tilt, id=f"{axes}{signs}{'-tilted' if tilt else ''}")
    for axes in permutations(range(3))
    for signs in product((1, -1), repeat=3)
    for tilt in (0.0, TILT_DEGREES)
]


def stored(axes: tuple[int, ...], signs: tuple[int, ...], tilt: float) -> Result:
    """The head, its array axes running along these axes of a tilted body box."""
    turn = rotation(0, tilt) @ rotation(2, tilt)
    directions = np.zeros((3, 3))
    for axis, (world, sign) in enumerate(zip(axes, signs, strict=True)):
        directions[:, axis] = sign * SPACING_MM[world] * turn[:, world]
    i, j, k = (round(EXTENT_MM / SPACING_MM[world]) for world in axes)
    affine = np.eye(4)
    affine[:3, :3] = directions
    affine[:3, 3] = -directions @ ((np.array([i, j, k]) - 1) / 2)
    return head_on(Grid((i, j, k), affine))


def rotation(about: int, degrees: float) -> NDArray[np.float64]:
    first, second = (axis for axis in range(3) if axis != about)
    turn = np.eye(3)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn[[first, first, second, second], [first, second, first, second]] = c, -s, s, c
    return turn


def head_on(grid: Grid) -> Result:
    voxels = np.stack(np.indices(grid.shape), -1)
    world_mm = voxels @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    head = np.linalg.norm(world_mm, axis=-1) < HEAD_MM
    lesion = np.linalg.norm(world_mm - LEFT_FRONT_TOP_MM, axis=-1) < LESION_MM
    labels = np.where(lesion, np.uint8(Label.ET), np.uint8(0))
    values = np.where(lesion, 250, np.where(head, 100, 0)).astype(np.float32)
    study = Study({modality: Volume(values, grid) for modality in Modality})
    made_by = Provenance("unet-1", "ab" * 32, "CPU", 1.0, ("Scaled.",))
    probabilities = np.zeros((*grid.shape, len(Region)), np.uint8)
    segmentation = Segmentation(labels, probabilities, grid, made_by)
    return Result(study, segmentation, dict.fromkeys(Modality, "0" * 64), b"a mask")


def place_mm(marked: NDArray[np.bool_], px_per_mm: float) -> tuple[float, float]:
    """How far to the right and down of the picture's middle the marked pixels lie."""
    rows, columns = np.nonzero(marked)
    height, width = marked.shape
    return (
        float(columns.mean() - (width - 1) / 2) / px_per_mm,
        float(rows.mean() - (height - 1) / 2) / px_per_mm,
    )


def is_yellow(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where enhancing tumour is outlined."""
    yellow: NDArray[np.bool_] = (picture == Label.ET.colour).all(axis=-1)
    return yellow


@pytest.mark.parametrize(("axes", "signs", "tilt"), WAYS)
def test_the_lesion_is_on_the_left_in_every_picture_and_in_words(
    axes: tuple[int, ...], signs: tuple[int, ...], tilt: float
) -> None:
    result = stored(axes, signs, tilt)
    grid, labels = result.segmentation.grid, result.segmentation.labels

    # the thumbnail beside the traffic light: the middle axial slice, at the picture's own size
    noise = np.random.default_rng(0).uniform(100, 250, grid.shape)
    scan = Volume(np.where(labels > 0, noise, 0).astype(np.float32), grid)
    small = np.asarray(Image.open(io.BytesIO(thumbnail(scan))).convert("L"))
    expected = pytest.approx(EXPECTED_MM[Plane.AXIAL], abs=TOLERANCE_MM)
    assert place_mm(small > 20, max(small.shape) / EXTENT_MM) == expected

    # the picture of a plane that can be downloaded; a strip with the research line is below it
    style = Style(outline=True, longest_side_px=300)
    for plane in Plane:
        view = View(plane, key_slice(labels, grid, plane))
        png = np.asarray(Image.open(io.BytesIO(picture_png(result, Modality.T1CE, view, style))))
        found = place_mm(is_yellow(png)[:300], 300 / EXTENT_MM)
        assert found == pytest.approx(EXPECTED_MM[plane], abs=TOLERANCE_MM), plane

    # the six pictures of the report, and its words
    figure = report_figure(result, NO_NOTES)
    assert len(figure.axes) == 6
    for axes_, plane in zip(figure.axes, [*Plane, *Plane], strict=True):
        picture = np.asarray(axes_.images[0].get_array())
        found = place_mm(is_yellow(picture), max(picture.shape) / EXTENT_MM)
        assert found == pytest.approx(EXPECTED_MM[plane], abs=TOLERANCE_MM), plane
    assert "left" in [text.get_text() for text in figure.texts]


def test_the_words_follow_the_lesion_to_the_other_side() -> None:
    result = stored((0, 1, 2), (1, 1, 1), 0)
    grid = result.segmentation.grid
    midline_mm = midline_x_mm(result.study.scans[Modality.T1].values > 0, grid)
    mirrored = np.ascontiguousarray(result.segmentation.labels[::-1])
    (lesion,) = lesions(mirrored, grid, Region.TC, midline_mm)
    assert lesion.side is Side.RIGHT


def test_this_test_would_notice_a_mirrored_picture() -> None:
    result = stored((0, 1, 2), (1, 1, 1), 0)
    labels = np.ascontiguousarray(result.segmentation.labels[::-1])
    scan = result.study.scans[Modality.T1]
    view = View(Plane.AXIAL, key_slice(labels, scan.grid, Plane.AXIAL))
    style = Style(outline=True, longest_side_px=300)
    png = np.asarray(Image.open(io.BytesIO(slice_png(scan, labels, view, style))))
    right, _ = place_mm(is_yellow(png)[:300], 300 / EXTENT_MM)
    assert abs(right - EXPECTED_MM[Plane.AXIAL][0]) > 2 * TOLERANCE_MM
