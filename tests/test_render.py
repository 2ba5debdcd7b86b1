"""Pictures of marked voxels: where they must appear is known from the affine alone."""

import io
from itertools import permutations, product

import numpy as np
import pytest
from PIL import Image

from utils.grid import Grid
from utils.labels import Label
from utils.measure import lesions
from utils.plane import Plane
from utils.render import (
    RESEARCH_USE,
    Style,
    View,
    display_window,
    key_slice,
    slice_png,
    slice_rgb,
    thumbnail,
)
from utils.volume import Volume

ORIENTATIONS = [
    (axes, signs) for axes in permutations(range(3)) for signs in product((1.0, -1.0), repeat=3)
]
BLACK_TO_WHITE = (0.0, 255.0)
EXACT = Style(longest_side_px=20)  # one picture pixel for each of the 20 x 20 x 20 mm phantom's


def oriented(axes: tuple[int, ...], signs: tuple[float, ...]) -> Grid:
    """Make a 20 mm cube of 1 mm voxels whose middle is the world's origin."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[world, axis] = sign
    affine[:3, 3] = -affine[:3, :3] @ [9.5, 9.5, 9.5]
    return Grid((20, 20, 20), affine)


def voxel_at(grid: Grid, world_mm: tuple[float, float, float]) -> tuple[int, ...]:
    return tuple(np.rint(np.linalg.inv(grid.affine) @ [*world_mm, 1])[:3].astype(int).tolist())


def scan_with(grid: Grid, *bright_mm: tuple[float, float, float]) -> Volume:
    values = np.zeros(grid.shape, np.float32)
    for world_mm in bright_mm:
        values[voxel_at(grid, world_mm)] = 255
    return Volume(values, grid)


CANONICAL = oriented((0, 1, 2), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
@pytest.mark.parametrize(
    ("plane", "row", "column"),
    [
        # the voxel lies 6.5 mm left of, 4.5 mm before and 2.5 mm above the middle, which is
        # between the pixels 9 and 10
        pytest.param(Plane.AXIAL, 9.5 - 4.5, 9.5 + 6.5, id="axial: left is right, front is up"),
        pytest.param(Plane.CORONAL, 9.5 - 2.5, 9.5 + 6.5, id="coronal: left is right, up is up"),
        pytest.param(Plane.SAGITTAL, 9.5 - 2.5, 9.5 - 4.5, id="sagittal: front is left"),
    ],
)
def test_patients_left_is_on_the_right_in_all_48_orientations(
    axes: tuple[int, ...], signs: tuple[float, ...], plane: Plane, row: float, column: float
) -> None:
    grid = oriented(axes, signs)
    left_front_top = (-6.5, 4.5, 2.5)  # RAS+
    scan = scan_with(grid, left_front_top)
    voxel = voxel_at(grid, left_front_top)
    view = View(plane, voxel[plane.array_axis(grid)], BLACK_TO_WHITE)
    picture = slice_rgb(scan, None, view, EXACT)
    assert np.argwhere(picture[..., 0]).tolist() == [[row, column]]
    assert plane.pixel_of(voxel, grid) == (row, column)


def test_labels_lie_on_the_anatomy_in_the_picture() -> None:
    grid = oriented((2, 0, 1), (-1.0, 1.0, -1.0))
    place = (-6.5, 4.5, 2.5)
    labels = np.zeros(grid.shape, np.uint8)
    labels[voxel_at(grid, place)] = Label.ET
    for plane in Plane:
        view = View(plane, key_slice(labels, grid, plane), BLACK_TO_WHITE)
        grey = slice_rgb(scan_with(grid, place), None, view, EXACT)
        coloured = slice_rgb(scan_with(grid), labels, view, Style(1.0, longest_side_px=20))
        assert np.array_equal(grey.any(axis=2), coloured.any(axis=2))


@pytest.mark.parametrize(
    ("plane", "edges", "neurological"),
    [
        (Plane.AXIAL, "RLAP", "LRAP"),  # left, right, top, bottom edge
        (Plane.CORONAL, "RLSI", "LRSI"),
        (Plane.SAGITTAL, "APSI", "APSI"),
    ],
)
def test_letters_name_the_body_sides(plane: Plane, edges: str, neurological: str) -> None:
    order = ("left", "right", "top", "bottom")
    assert View(plane, 0).edges == dict(zip(order, edges, strict=True))
    mirrored = View(plane, 0, radiological=False).edges
    assert mirrored == dict(zip(order, neurological, strict=True))


@pytest.mark.parametrize("plane", Plane)
def test_the_marked_voxel_lies_towards_the_letter_of_its_side(plane: Plane) -> None:
    toward = {"L": -6.5, "R": 6.5, "P": -6.5, "A": 6.5, "I": -6.5, "S": 6.5}
    for radiological in (True, False):
        view = View(plane, 9, BLACK_TO_WHITE, radiological)
        world = [-0.5, -0.5, -0.5]
        letter = view.edges["right"]
        world["LRPAIS".index(letter) // 2] = toward[letter]
        picture = slice_rgb(scan_with(CANONICAL, tuple(world)), None, view, EXACT)
        (_, column) = np.argwhere(picture[..., 0])[0]
        assert column == 16


def test_neurological_view_is_the_mirror_image() -> None:
    scan = scan_with(CANONICAL, (-6.5, 4.5, 2.5))
    radiological = slice_rgb(scan, None, View(Plane.AXIAL, 12, BLACK_TO_WHITE), EXACT)
    neurological = slice_rgb(scan, None, View(Plane.AXIAL, 12, BLACK_TO_WHITE, False), EXACT)
    assert np.array_equal(neurological, radiological[:, ::-1])


def test_pixels_are_square_on_anisotropic_voxels() -> None:
    grid = Grid((40, 20, 10), np.diag([0.5, 2.0, 6.0, 1.0]))  # 20 x 40 x 60 mm
    scan = Volume(np.zeros(grid.shape, np.float32), grid)
    sizes = {p: slice_rgb(scan, None, View(p, 0), Style(longest_side_px=120)).shape for p in Plane}
    assert sizes == {
        Plane.AXIAL: (120, 60, 3),
        Plane.CORONAL: (120, 40, 3),
        Plane.SAGITTAL: (120, 80, 3),
    }


def test_label_colour_is_blended_by_opacity() -> None:
    scan = Volume(np.full(CANONICAL.shape, 100, np.float32), CANONICAL)
    labels = np.full(CANONICAL.shape, Label.ED, np.uint8)  # colour 86, 180, 233
    view = View(Plane.AXIAL, 0, BLACK_TO_WHITE)
    assert slice_rgb(scan, labels, view, Style(0.5))[5, 5].tolist() == [93, 140, 166]
    assert slice_rgb(scan, labels, view, Style(0.0))[5, 5].tolist() == [100, 100, 100]
    assert slice_rgb(scan, labels, view, Style(1.0))[5, 5].tolist() == [86, 180, 233]


def test_hidden_labels_are_not_painted() -> None:
    labels = np.full(CANONICAL.shape, Label.ED, np.uint8)
    view = View(Plane.AXIAL, 0, BLACK_TO_WHITE)
    assert not slice_rgb(scan_with(CANONICAL), labels, view, Style(shown=(Label.ET,))).any()


def test_outline_leaves_the_inside_to_the_anatomy() -> None:
    scan = Volume(np.full(CANONICAL.shape, 100, np.float32), CANONICAL)
    labels = np.zeros(CANONICAL.shape, np.uint8)
    labels[5:15, 5:15] = Label.ET
    style = Style(outline=True, longest_side_px=20)
    picture = slice_rgb(scan, labels, View(Plane.AXIAL, 0, BLACK_TO_WHITE), style)
    is_grey = (picture == 100).all(axis=2)
    assert is_grey[7:13, 7:13].all()  # two pixels of outline on each side of ten
    assert (picture[5:15, 5:7] == Label.ET.colour).all()
    assert is_grey.sum() == 400 - (100 - 36)


def test_window_is_black_below_white_above_and_linear_between() -> None:
    values = np.zeros((20, 20, 20), np.float32)
    values[:, 19] = [50] * 20  # anterior row, drawn first
    values[:, 18], values[:, 17], values[:, 16] = 100, 150, 400
    picture = slice_rgb(Volume(values, CANONICAL), None, View(Plane.AXIAL, 0, (50, 150)), EXACT)
    assert picture[:5, 0, 0].tolist() == [0, 128, 255, 255, 0]


def test_window_ignores_air_and_outliers() -> None:
    values = np.zeros((20, 20, 20), np.float32)
    values[5:15, 5:15, 5:15] = np.arange(1000).reshape(10, 10, 10) + 1
    values[5, 5, 5] = 1e9
    low, high = display_window(Volume(values, CANONICAL))
    # of 1000 values 2..1000 and the outlier: positions 9.99 and 994.005, counted from 0
    assert (low, high) == pytest.approx((11.99, 996.005))


@pytest.mark.parametrize("level", [0.0, 7.0])
def test_a_blank_scan_can_still_be_shown(level: float) -> None:
    scan = Volume(np.full((20, 20, 20), level, np.float32), CANONICAL)
    low, high = display_window(scan)
    assert low < high
    assert slice_rgb(scan, None, View(Plane.AXIAL, 3)).shape == (512, 512, 3)


@pytest.mark.parametrize("plane", Plane)
def test_key_slice_has_the_largest_tumour_area(plane: Plane) -> None:
    grid = oriented((2, 0, 1), (-1.0, 1.0, -1.0))
    labels = np.zeros(grid.shape, np.uint8)
    assert key_slice(labels, grid, plane) == 10
    labels[3:6, 3:6, 3:6] = Label.ED
    labels[4, 4, 4] = Label.BACKGROUND
    labels[5, 6, 5] = labels[6, 5, 5] = labels[5, 5, 6] = Label.ET  # 10 voxels in each slice 5
    labels[14:16, 14:16, 14:16] = Label.ET  # less tumour, but more of it enhances
    assert key_slice(labels, grid, plane) == 5


def test_diameters_are_drawn_where_the_tumour_is_and_only_on_their_slice() -> None:
    grid = oriented((0, 2, 1), (1.0, 1.0, -1.0))
    labels = np.zeros(grid.shape, np.uint8)
    labels[2:8, 4, 10] = Label.ET  # a row of 6 mm along the patient's right-left
    (lesion,) = lesions(labels, grid)
    assert lesion.diameters is not None
    style = Style(diameters=(lesion.diameters,), longest_side_px=400)
    for radiological in (True, False):
        here = View(Plane.AXIAL, 4, BLACK_TO_WHITE, radiological)
        plain = picture_of(slice_png(scan_with(grid), None, here, Style(longest_side_px=400)))
        drawn = picture_of(slice_png(scan_with(grid), None, here, style))
        rows, columns = np.nonzero((plain != drawn).any(axis=2))
        tumour = slice_rgb(scan_with(grid), labels, here, Style(1.0, longest_side_px=400))
        tumour_rows, tumour_columns = np.nonzero(tumour.any(axis=2))
        assert abs(columns.min() - tumour_columns.min()) <= 4
        assert abs(columns.max() - tumour_columns.max()) <= 4
        assert abs(rows.mean() - tumour_rows.mean()) <= 4
    elsewhere = View(Plane.AXIAL, 5, BLACK_TO_WHITE)
    plain = slice_png(scan_with(grid), None, elsewhere, Style(longest_side_px=400))
    assert slice_png(scan_with(grid), None, elsewhere, style) == plain


def picture_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_scale_bar_is_as_long_as_it_says() -> None:
    # 20 mm over 400 px: 20 px a mm; a third of the width holds 6.7 mm, so the bar says 5 mm
    scan, view = scan_with(CANONICAL), View(Plane.AXIAL, 0)
    picture = picture_of(slice_png(scan, None, view, Style(longest_side_px=400)))
    bar_row = picture[400 - 8 - 2, 270:, 0]  # right of the letter at the bottom
    assert int((bar_row == 255).sum()) == 100


def test_research_line_stands_under_the_picture_and_covers_none_of_it() -> None:
    scan, view = scan_with(CANONICAL), View(Plane.AXIAL, 0)
    picture = picture_of(slice_png(scan, None, view, Style(longest_side_px=400)))
    assert picture.shape[0] > 400
    assert picture[400:].any()
    assert "research use only" in RESEARCH_USE.lower()


def test_research_line_is_whole_even_under_a_tiny_picture() -> None:
    tiny, large = (
        picture_of(
            slice_png(
                scan_with(CANONICAL), None, View(Plane.AXIAL, 0), Style(0.5, longest_side_px=px)
            )
        )
        for px in (10, 400)
    )
    ink = [
        int((picture[px:] == 255).all(axis=2).sum()) for picture, px in ((tiny, 10), (large, 400))
    ]
    assert ink[0] == ink[1] > 0


def test_png_carries_no_text_and_is_the_same_twice() -> None:
    scan, view = scan_with(CANONICAL, (-6.5, 4.5, 2.5)), View(Plane.CORONAL, 9)
    png = slice_png(scan, None, view)
    assert png == slice_png(scan, None, view)
    assert Image.open(io.BytesIO(png)).info == {}


def test_thumbnail_shows_the_middle_of_the_head_not_of_the_array() -> None:
    values = np.zeros((20, 20, 20), np.float32)
    values[:, :, 14:19] = 1
    values[5:10, 5:10, 16] = 2
    picture = picture_of(thumbnail(Volume(values, CANONICAL)))
    assert picture.shape == (128, 128, 3)
    assert len(np.unique(picture)) > 1  # only slice 16 has two greys


def test_thumbnail_of_a_blank_scan_is_black() -> None:
    assert not picture_of(thumbnail(scan_with(CANONICAL))).any()


def test_labels_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit the scan"):
        slice_rgb(scan_with(CANONICAL), np.zeros((3, 3, 3), np.uint8), View(Plane.AXIAL, 0))


@pytest.mark.parametrize("index", [-1, 20])
def test_slices_that_do_not_exist_are_refused(index: int) -> None:
    with pytest.raises(IndexError, match="outside 0 to 19"):
        slice_rgb(scan_with(CANONICAL), None, View(Plane.CORONAL, index))


@pytest.mark.parametrize("opacity", [-0.1, 1.1])
def test_impossible_opacity_is_refused(opacity: float) -> None:
    with pytest.raises(ValueError, match="opacity"):
        Style(opacity)


def test_picture_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="needs pixels"):
        Style(longest_side_px=0)


@pytest.mark.parametrize("window", [(5.0, 5.0), (6.0, 5.0)])
def test_empty_window_is_refused(window: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="from low to high"):
        View(Plane.AXIAL, 0, window)
