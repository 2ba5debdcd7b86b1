"""Volumes, lesions and diameters of bodies whose sizes are known on paper."""

import tracemalloc
from collections.abc import Callable
from itertools import permutations, product

import numpy as np
import pytest

from utils.grid import Grid
from utils.labels import Label, Region
from utils.measure import (
    Diameters,
    Lesion,
    Side,
    label_volumes_ml,
    lesion_map,
    lesions,
    midline_x_mm,
    region_volumes_ml,
)

SHEARED = np.array([[1.0, 1, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])  # |det| = 6 mm3
ANISOTROPIC = np.diag([1.0, 0.5, 3.0, 1.0])
ANGLE = np.deg2rad(20)
TURNED = np.array(  # by 20 degrees about the patient's long axis
    [
        [np.cos(ANGLE), -np.sin(ANGLE), 0, 0],
        [np.sin(ANGLE), np.cos(ANGLE), 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
    ]
)
TILTED = np.array(  # by 20 degrees about the patient's right-left axis
    [
        [1, 0, 0, 0],
        [0, np.cos(ANGLE), -np.sin(ANGLE), 0],
        [0, np.sin(ANGLE), np.cos(ANGLE), 0],
        [0, 0, 0, 1],
    ]
)

ONE_PIXEL_MM = 1.0  # a body cut at half a pixel at either end

Inside = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def body(shape: tuple[int, int, int], affine: np.ndarray, inside: Inside) -> np.ndarray:
    """Paint enhancing tumour wherever `inside` says so; x, y, z in mm from the grid's middle."""
    indices = np.indices(shape).reshape(3, -1) - (np.array(shape)[:, None] - 1) / 2
    x, y, z = affine[:3, :3] @ indices
    return np.where(inside(x, y, z).reshape(shape), np.uint8(Label.ET), np.uint8(0))


def box(*spans: tuple[int, int], label: Label = Label.ET, shape: int = 30) -> np.ndarray:
    labels = np.zeros((shape,) * 3, np.uint8)
    labels[tuple(slice(*span) for span in spans)] = label
    return labels


def diameters(labels: np.ndarray, affine: np.ndarray) -> Diameters:
    (lesion,) = lesions(labels, Grid(labels.shape, affine))
    assert lesion.diameters is not None
    return lesion.diameters


@pytest.mark.parametrize(("affine", "ml"), [(np.eye(4), 0.001), (SHEARED, 0.006)])
def test_volumes_are_voxels_times_the_determinant(affine: np.ndarray, ml: float) -> None:
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[:5] = Label.ED  # 500 voxels
    labels[:2, :, :] = Label.NCR_NET  # 200 of them
    labels[0, :, :] = Label.ET  # 100 of those
    grid = Grid(labels.shape, affine)
    regions = region_volumes_ml(labels, grid)
    assert [regions[r] for r in Region] == pytest.approx([500 * ml, 200 * ml, 100 * ml])
    assert label_volumes_ml(labels, grid) == pytest.approx(
        {Label.NCR_NET: 100 * ml, Label.ED: 300 * ml, Label.ET: 100 * ml}
    )


@pytest.mark.parametrize("affine", [np.eye(4), ANISOTROPIC, TURNED, TILTED])
def test_sphere_of_20_mm_holds_33_5_millilitres_on_every_grid(affine: np.ndarray) -> None:
    labels = body((61, 91, 61), affine, lambda x, y, z: x**2 + y**2 + z**2 <= 20**2)
    volume = region_volumes_ml(labels, Grid(labels.shape, affine))[Region.ET]
    assert volume == pytest.approx(4 / 3 * np.pi * 2**3, rel=0.01)


@pytest.mark.parametrize(
    "affine",
    [
        pytest.param(np.eye(4), id="canonical"),
        pytest.param(np.diag([1.0, 0.5, 3.0, 1.0]), id="anisotropic in plane"),
        pytest.param(TURNED, id="turned within the axial plane"),
        pytest.param(
            np.array([[0, 0, 1.0, 0], [0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]]), id="IPR"
        ),
    ],
)
def test_ellipsoid_measures_its_two_axes_wherever_the_axial_axis_is(affine: np.ndarray) -> None:
    # semi-axes 16 mm right-left, 9 mm front-back, 12 mm up-down
    labels = body(
        (61, 81, 61), affine, lambda x, y, z: (x / 16) ** 2 + (y / 9) ** 2 + (z / 12) ** 2 <= 1
    )
    found = diameters(labels, affine)
    assert found.longest_mm == pytest.approx(32, abs=ONE_PIXEL_MM)
    assert found.perpendicular_mm == pytest.approx(18, abs=ONE_PIXEL_MM)
    assert found.slice_index == 30  # the middle one, where the area is largest


def test_tilted_slices_cut_a_sphere_in_a_circle() -> None:
    labels = body((61, 61, 61), TILTED, lambda x, y, z: x**2 + y**2 + z**2 <= 14**2)
    found = diameters(labels, TILTED)
    assert found.longest_mm == pytest.approx(28, abs=ONE_PIXEL_MM)
    assert found.perpendicular_mm == pytest.approx(28, abs=ONE_PIXEL_MM)


def test_a_row_of_pixels_measures_its_number_of_pixels() -> None:
    found = diameters(box((5, 25), (8, 9), (3, 4)), np.diag([2.0, 3.0, 5.0, 1.0]))
    assert found.longest_mm == pytest.approx(40)
    assert found.perpendicular_mm == pytest.approx(3)


def test_rectangle_is_measured_between_the_middles_of_its_outer_pixel_edges() -> None:
    found = diameters(box((5, 25), (8, 16), (3, 4)), np.eye(4))
    assert found.longest_mm == pytest.approx(np.hypot(20, 7))
    # the perpendicular to a slope of 7 in 20 through an outline 8 high: 8 / cos(slope), less
    # nothing, as both its ends lie on the long sides
    assert found.perpendicular_mm == pytest.approx(8 / (20 / np.hypot(20, 7)))


def test_lines_end_where_they_are_drawn_and_cross_at_a_right_angle() -> None:
    found = diameters(box((5, 25), (8, 9), (3, 4)), np.diag([2.0, 3.0, 5.0, 1.0]))
    assert sorted(found.longest_ends) == [(4.5, 8.0, 3.0), (24.5, 8.0, 3.0)]
    (i, j, k), (i_end, j_end, k_end) = sorted(found.perpendicular_ends)
    assert (i, k) == (i_end, k_end)
    assert (j, j_end) == pytest.approx((7.5, 8.5))


@pytest.mark.parametrize("affine", [TURNED, SHEARED, ANISOTROPIC])
def test_drawn_ends_have_the_reported_length_and_angle_in_the_patient(affine: np.ndarray) -> None:
    labels = body((61, 61, 31), affine, lambda x, y, z: (x / 9) ** 2 + (y / 6 + x / 9) ** 2 <= 1)
    found = diameters(labels, affine)
    longest, perpendicular = (
        affine[:3, :3] @ np.subtract(*ends)
        for ends in (found.longest_ends, found.perpendicular_ends)
    )
    assert np.linalg.norm(longest) == pytest.approx(found.longest_mm)
    assert np.linalg.norm(perpendicular) == pytest.approx(found.perpendicular_mm)
    assert longest @ perpendicular == pytest.approx(0, abs=1e-9)


def test_diameters_are_taken_on_the_slice_with_most_enhancement() -> None:
    labels = box((5, 10), (5, 10), (5, 9)) | box((5, 15), (5, 8), (9, 10))  # 25 and 30 pixels
    found = diameters(labels, np.eye(4))
    assert found.slice_index == 9


def test_ring_around_necrosis_is_measured_across_even_when_it_is_broken() -> None:
    labels = box((5, 25), (5, 9), (5, 6), label=Label.NCR_NET)
    labels[5:7, 5:9, 5] = Label.ET
    labels[23:25, 5:9, 5] = Label.ET
    assert diameters(labels, np.eye(4)).longest_mm == pytest.approx(np.hypot(20, 3))


def test_enhancing_foci_in_one_oedema_are_not_measured_as_one() -> None:
    labels = box((2, 28), (2, 28), (5, 6), label=Label.ED)
    labels[4:10, 4, 5] = Label.ET
    labels[20:24, 20, 5] = Label.ET
    assert diameters(labels, np.eye(4)).longest_mm == pytest.approx(6)
    as_rano_counts = lesions(labels, Grid(labels.shape, np.eye(4)), Region.TC)
    assert [found.voxels for found in as_rano_counts] == [6, 4]


@pytest.mark.parametrize(
    ("longest_mm", "perpendicular_mm", "measurable"),
    [(10.0, 10.0, True), (30.0, 9.99, False), (9.99, 9.99, False)],
)
def test_measurable_means_both_diameters_reach_ten_millimetres(
    longest_mm: float, perpendicular_mm: float, measurable: bool
) -> None:
    ends = ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0))
    assert Diameters(longest_mm, perpendicular_mm, 0, ends, ends).measurable is measurable


@pytest.mark.parametrize(("pixels", "measurable"), [(12, True), (8, False)])
def test_a_disc_is_measurable_from_ten_millimetres_on(pixels: int, measurable: bool) -> None:
    disc = np.zeros((40, 40, 3), np.uint8)
    disc[5:35, 5 : 5 + pixels, 1] = Label.ET
    disc[5:35, 5 : 5 + pixels, 1][[0, 0, -1, -1], [0, -1, 0, -1]] = 0
    assert diameters(disc, np.eye(4)).measurable is measurable


def test_tumour_that_does_not_enhance_has_no_diameters() -> None:
    labels = box((5, 25), (8, 9), (3, 4), label=Label.NCR_NET)
    (lesion,) = lesions(labels, Grid(labels.shape, np.eye(4)))
    assert lesion.diameters is None


def test_no_tumour_has_no_lesions() -> None:
    assert lesions(np.zeros((5, 5, 5), np.uint8), Grid((5, 5, 5), np.eye(4))) == ()


def test_lesions_are_numbered_from_the_largest() -> None:
    mask = np.zeros((20, 20, 20), bool)
    mask[1, 1, 1] = True
    mask[5:8, 5:8, 5:8] = True
    mask[12:14, 12:14, 12:14] = True
    numbers = lesion_map(mask)
    assert (numbers[1, 1, 1], numbers[6, 6, 6], numbers[12, 12, 12]) == (3, 1, 2)
    assert np.array_equal(numbers > 0, mask)


def test_voxels_that_share_a_corner_are_one_lesion() -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[2, 2, 2] = mask[3, 3, 3] = True
    mask[6, 6, 6] = True  # two corners away
    assert lesion_map(mask).max() == 2


def test_lesion_states_its_volume_place_and_extent_in_millimetres() -> None:
    labels = box((2, 6), (10, 12), (20, 23), label=Label.ED)  # 24 voxels
    labels[2, 10, 20] = Label.ET
    affine = np.array([[-2.0, 0, 0, 100], [0, 0, 3, 0], [0, 1, 0, -50], [0, 0, 0, 1]])
    (lesion,) = lesions(labels, Grid(labels.shape, affine))
    assert (lesion.number, lesion.voxels) == (1, 24)
    assert lesion.volume_ml == pytest.approx(24 * 0.006)
    assert lesion.centroid_mm == pytest.approx((100 - 2 * 3.5, 3 * 21, 10.5 - 50))
    assert lesion.extent_mm == pytest.approx((8, 9, 2))
    assert lesion.volumes_ml == pytest.approx(
        {Region.WT: 24 * 0.006, Region.TC: 0.006, Region.ET: 0.006}
    )


def test_each_lesion_is_measured_alone() -> None:
    bent = box((2, 12), (2, 4), (2, 4)) | box((2, 4), (2, 12), (2, 4))  # 40 + 40 - 8 voxels
    inside_the_bend = box((8, 11), (8, 11), (2, 4))
    first, second = lesions(bent | inside_the_bend, Grid(bent.shape, np.eye(4)))
    assert (first.voxels, second.voxels) == (72, 18)
    assert first.extent_mm == (10, 10, 2)
    assert second.extent_mm == (3, 3, 2)
    assert first.volumes_ml[Region.ET] == pytest.approx(0.072)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_patients_left_is_left_in_every_one_of_48_orientations(
    axes: tuple[int, int, int], signs: tuple[int, int, int]
) -> None:
    lesion = _lesion_10_mm_left_of_a_midline_at_100_mm(axes, signs)
    assert lesion.side is Side.LEFT
    assert lesion.centroid_mm == pytest.approx((90, 0, 0))


def _lesion_10_mm_left_of_a_midline_at_100_mm(
    axes: tuple[int, int, int], signs: tuple[int, int, int]
) -> Lesion:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[world, axis] = sign
    affine[:3, 3] = np.array([100, 0, 0]) - affine[:3, :3] @ [15, 15, 15]
    grid = Grid((31, 31, 31), affine)
    index = np.linalg.inv(affine) @ [90, 0, 0, 1]  # RAS+: left is towards smaller x
    labels = np.zeros(grid.shape, np.uint8)
    labels[tuple(np.rint(index[:3]).astype(int))] = Label.ET
    brain = np.zeros(grid.shape, bool)
    brain[3:28, 3:28, 3:28] = True
    (lesion,) = lesions(labels, grid, midline_mm=midline_x_mm(brain, grid))
    return lesion


@pytest.mark.parametrize(
    ("x_mm", "side"),
    [(4, Side.MIDLINE), (-4, Side.MIDLINE), (6, Side.RIGHT), (-6, Side.LEFT)],
)
def test_within_five_millimetres_of_the_midline_no_side_is_claimed(x_mm: int, side: Side) -> None:
    labels = box((15 + x_mm, 16 + x_mm), (5, 6), (5, 6))
    (lesion,) = lesions(labels, Grid(labels.shape, np.eye(4)), midline_mm=15.0)
    assert lesion.side is side


def test_without_a_midline_no_side_is_claimed() -> None:
    (lesion,) = lesions(box((3, 5), (5, 6), (5, 6)), Grid((30, 30, 30), np.eye(4)))
    assert lesion.side is None


def test_an_empty_brain_has_no_midline() -> None:
    with pytest.raises(ValueError, match="empty brain mask"):
        midline_x_mm(np.zeros((3, 3, 3), bool), Grid((3, 3, 3), np.eye(4)))


def peak_mib(measure: Callable[[], object]) -> float:
    tracemalloc.start()
    measure()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 2**20


def test_a_ragged_outline_is_measured_in_little_memory() -> None:
    """Enhancement full of holes: 3,000 segments, of which all pairs at once would be 300 MB."""
    labels = np.full((60, 60, 1), Label.NCR_NET, np.uint8)
    labels[np.random.default_rng(0).random(labels.shape) < 0.5] = Label.ET
    labels[[0, 0, -1, -1], [0, -1, 0, -1]] = Label.ET
    assert peak_mib(lambda: diameters(labels, np.eye(4))) < 100
    found = diameters(labels, np.eye(4))
    # from corner to corner, and as far across: each half a pixel within its corner
    assert found.longest_mm == pytest.approx(59 * np.sqrt(2), abs=ONE_PIXEL_MM)
    assert found.perpendicular_mm == pytest.approx(59 * np.sqrt(2), abs=ONE_PIXEL_MM)


def test_the_midline_of_a_large_brain_is_found_in_little_memory() -> None:
    brain = np.zeros((160, 160, 100), np.bool_)
    brain[10:141] = True  # 2 million voxels; the middle one of 131 planes is number 75
    grid = Grid(brain.shape, np.array([[-2.0, 0, 0, 30], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    assert midline_x_mm(brain, grid) == -120  # 30 - 2 * 75
    assert peak_mib(lambda: midline_x_mm(brain, grid)) < 70
