"""Every number here is worked out by hand; nothing is copied from a run."""

import dataclasses

import numpy as np
import pytest

from utils import metrics
from utils.grid import Grid
from utils.labels import Label, Region
from utils.metrics import HD95_ONE_EMPTY_MM, LesionScores

SHAPE = (40, 36, 32)
CANONICAL = Grid(SHAPE, np.eye(4))
ANISOTROPIC = Grid(SHAPE, np.diag([1.0, 2.0, 5.0, 1.0]))
SHEARED = Grid(SHAPE, np.array([[1.0, 0, 3, 0], [0, 1, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]]))
EMPTY = np.zeros(SHAPE, bool)


def cube(corner: tuple[int, int, int], size: int = 4) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(c, c + size) for c in corner)] = True
    return mask


ONE = cube((10, 10, 10))


@pytest.mark.parametrize(
    ("predicted", "reference", "overlap", "distance_mm"),
    [
        pytest.param(EMPTY, EMPTY, 1.0, 0.0, id="both empty is perfect"),
        pytest.param(ONE, EMPTY, 0.0, HD95_ONE_EMPTY_MM, id="all false positive is a total miss"),
        pytest.param(EMPTY, ONE, 0.0, HD95_ONE_EMPTY_MM, id="all false negative is a total miss"),
        pytest.param(ONE, ONE, 1.0, 0.0, id="identical is perfect"),
    ],
)
def test_golden_table_of_empty_regions(
    predicted: np.ndarray, reference: np.ndarray, overlap: float, distance_mm: float
) -> None:
    assert metrics.dice(predicted, reference) == overlap
    assert metrics.sensitivity(predicted, reference) == overlap
    assert metrics.precision(predicted, reference) == overlap
    assert metrics.surface_dice(predicted, reference, CANONICAL) == overlap
    assert metrics.hd95_mm(predicted, reference, CANONICAL) == distance_mm
    assert metrics.lesion_scores(predicted, reference, CANONICAL).dice == overlap


def test_penalty_is_the_diagonal_of_the_brats_volume() -> None:
    assert pytest.approx(np.sqrt(240**2 + 240**2 + 155**2), abs=0.005) == HD95_ONE_EMPTY_MM


def test_half_overlapping_cubes_score_one_half() -> None:
    shifted = cube((12, 10, 10))
    assert metrics.dice(shifted, ONE) == 0.5
    assert metrics.sensitivity(shifted, ONE) == 0.5
    assert metrics.precision(shifted, ONE) == 0.5


def test_an_eighth_inside_the_whole_has_full_precision_and_an_eighth_of_sensitivity() -> None:
    part = cube((10, 10, 10), size=2)  # 8 of 64 voxels
    assert metrics.precision(part, ONE) == 1
    assert metrics.sensitivity(part, ONE) == 0.125
    assert metrics.dice(part, ONE) == pytest.approx(16 / 72)


@pytest.mark.parametrize(
    ("grid", "axis", "distance_mm"),
    [
        (CANONICAL, 0, 20),
        (ANISOTROPIC, 0, 20),
        (ANISOTROPIC, 1, 40),
        (ANISOTROPIC, 2, 100),
        (SHEARED, 2, 100),  # each step goes (3, 0, 4) mm, 5 mm long
    ],
)
def test_single_voxels_are_as_far_apart_as_the_affine_says(
    grid: Grid, axis: int, distance_mm: float
) -> None:
    here = cube((1, 1, 1), size=1)
    there = np.roll(here, 20, axis)
    assert metrics.hd95_mm(here, there, grid) == pytest.approx(distance_mm)


def test_distances_on_a_sheared_grid_are_those_of_the_patient() -> None:
    here = cube((10, 1, 1), size=1)
    straight_above = cube((7, 1, 2), size=1)  # -3 * (1, 0, 0) + (3, 0, 4) = (0, 0, 4) mm
    assert metrics.hd95_mm(here, straight_above, SHEARED) == pytest.approx(4)


def test_hd95_of_parallel_sheets_is_their_distance() -> None:
    sheet = np.zeros(SHAPE, bool)
    sheet[:, :, 5] = True
    assert metrics.hd95_mm(np.roll(sheet, 3, 2), sheet, ANISOTROPIC) == pytest.approx(15)


def test_hd95_pools_both_directions_and_forgives_five_percent() -> None:
    line = np.zeros(SHAPE, bool)
    line[:19, 0, 0] = True
    with_far_voxel = line.copy()
    with_far_voxel[0, 30, 0] = True
    # 19 + 20 distances, one of them 30: 97th percentile and above only
    assert metrics.hd95_mm(with_far_voxel, line, CANONICAL) == 0
    short, long = line[:, :, :].copy(), line.copy()
    short[1:] = False
    # voxel 0 against 0-18: distances {0} and {0..18}, 20 values, percentile position 18.05
    assert metrics.hd95_mm(short, long, CANONICAL) == pytest.approx(17.05)
    assert metrics.hd95_mm(long, short, CANONICAL) == pytest.approx(17.05)


def test_only_the_outer_shell_of_a_solid_is_its_surface() -> None:
    solid = cube((10, 10, 10), size=7)
    core = cube((13, 13, 13), size=1)
    # 218 of the 343 voxels are surface: at most 3 * sqrt(3) mm from the core; core: 3 mm from them
    distances = metrics.surface_distances_mm(solid, core, CANONICAL)
    assert distances.size == 7**3 - 5**3 + 1
    assert distances.min() == pytest.approx(3)
    assert distances.max() == pytest.approx(np.sqrt(27))


def test_a_voxel_whose_six_faces_are_covered_is_not_surface() -> None:
    cross = np.zeros(SHAPE, bool)
    cross[10, 10, 9:12] = cross[10, 9:12, 10] = cross[9:12, 10, 10] = True
    assert metrics.surface_distances_mm(cross, cross, CANONICAL).size == 2 * 6


def test_a_mask_that_leaves_the_array_has_a_surface_at_its_edge() -> None:
    edge = np.zeros(SHAPE, bool)
    edge[:3] = True
    distances = metrics.surface_distances_mm(edge, edge, CANONICAL)
    inside = (3 - 2) * (SHAPE[1] - 2) * (SHAPE[2] - 2)
    assert distances.size == 2 * (edge.sum() - inside)


@pytest.mark.parametrize(
    ("shift", "expected"), [(2, 1.0), (3, 0.0)], ids=["at tolerance", "beyond tolerance"]
)
def test_surface_dice_counts_what_lies_within_two_millimetres(shift: int, expected: float) -> None:
    sheet = np.zeros(SHAPE, bool)
    sheet[5] = True
    assert metrics.surface_dice(np.roll(sheet, shift, 0), sheet, CANONICAL) == expected


def test_surface_dice_tolerance_is_in_millimetres_not_voxels() -> None:
    sheet = np.zeros(SHAPE, bool)
    sheet[:, :, 5] = True
    next_slice = np.roll(sheet, 1, 2)
    assert metrics.surface_dice(next_slice, sheet, ANISOTROPIC) == 0
    assert metrics.surface_dice(next_slice, sheet, ANISOTROPIC, tolerance_mm=5) == 1


def test_lesion_found_and_lesion_missed_average_to_one_half() -> None:
    reference = ONE | cube((25, 25, 20))
    assert metrics.lesion_scores(ONE, reference, CANONICAL) == LesionScores(0.5, 1, 1, 0)


def test_false_positive_lesion_counts_zero_whatever_its_size() -> None:
    speck = cube((30, 30, 25), size=1)
    assert metrics.lesion_scores(ONE | speck, ONE, CANONICAL) == LesionScores(0.5, 1, 0, 1)


def test_fifty_cubic_millimetres_are_ignored_and_fifty_one_are_not() -> None:
    fifty = np.zeros(SHAPE, bool)
    fifty[5:10, 5:10, 5:7] = True
    fifty_one = fifty.copy()
    fifty_one[5, 5, 7] = True
    assert metrics.lesion_scores(EMPTY, fifty, CANONICAL) == LesionScores(1.0, 0, 0, 0)
    assert metrics.lesion_scores(EMPTY, fifty_one, CANONICAL) == LesionScores(0.0, 0, 1, 0)


def test_a_match_of_an_ignored_lesion_is_no_false_positive() -> None:
    tiny = cube((30, 30, 25), size=1)
    assert metrics.lesion_scores(ONE | tiny, ONE | tiny, CANONICAL) == LesionScores(1.0, 1, 0, 0)


def test_lesion_threshold_is_in_cubic_millimetres_on_every_grid() -> None:
    six_voxels = np.zeros(SHAPE, bool)
    six_voxels[5:11, 5, 5] = True  # 60 mm3 at 10 mm3 a voxel
    assert metrics.lesion_scores(EMPTY, six_voxels, ANISOTROPIC).missed == 1
    assert metrics.lesion_scores(EMPTY, six_voxels, CANONICAL).missed == 0


@pytest.mark.parametrize(("gap", "lesions"), [(6, 1), (7, 2)])
def test_dilation_by_three_merges_lesions_up_to_six_voxels_apart(gap: int, lesions: int) -> None:
    reference = ONE | cube((14 + gap, 10, 10))
    assert metrics.lesion_scores(EMPTY, reference, CANONICAL).missed == lesions


def test_prediction_near_a_lesion_belongs_to_it_without_overlap() -> None:
    beside = cube((14 + 2, 10, 10))  # two voxels of air between, inside the dilation
    assert metrics.lesion_scores(beside, ONE, CANONICAL) == LesionScores(0.0, 1, 0, 0)


@pytest.mark.parametrize(
    ("beyond_the_corner", "false"),
    [
        pytest.param((3, 3, 0), 0, id="three steps over edges"),
        pytest.param((3, 3, 1), 1, id="three steps cannot go over corners"),
        pytest.param((4, 0, 0), 1, id="four steps"),
    ],
)
def test_dilation_goes_three_times_over_faces_and_edges(
    beyond_the_corner: tuple[int, int, int], false: int
) -> None:
    i, j, k = beyond_the_corner
    speck = cube((13 + i, 13 + j, 13 + k), size=1)
    assert metrics.lesion_scores(ONE | speck, ONE, CANONICAL).false == false


def test_diagonal_neighbours_are_one_predicted_lesion() -> None:
    far = cube((30, 30, 25), size=1) | cube((31, 31, 26), size=1)
    assert metrics.lesion_scores(far, EMPTY, CANONICAL).false == 1


def test_one_prediction_over_two_lesions_counts_against_both() -> None:
    reference = np.zeros(SHAPE, bool)
    reference[2:6, 10:14, 10:14] = True
    reference[16:20, 10:14, 10:14] = True
    bridge = np.zeros(SHAPE, bool)
    bridge[2:20, 10:14, 10:14] = True  # 288 voxels over two lesions of 64
    scores = metrics.lesion_scores(bridge, reference, CANONICAL)
    assert scores.dice == pytest.approx(2 * 64 / (288 + 64))


@pytest.fixture
def reference_labels() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[8:18, 8:18, 8:18] = Label.ED  # 1000 voxels of WT
    labels[10:16, 10:16, 10:16] = Label.NCR_NET  # 216 of TC
    labels[10:16, 10:16, 10:13] = Label.ET  # 108 of ET
    return labels


def test_all_background_network_scores_zero_in_every_region(reference_labels: np.ndarray) -> None:
    scores = metrics.score(np.zeros_like(reference_labels), reference_labels, CANONICAL)
    for region in Region:
        values = dataclasses.asdict(scores[region])
        assert values.pop("hd95_mm") == HD95_ONE_EMPTY_MM
        assert values.pop("lesions") == {"dice": 0.0, "found": 0, "missed": 1, "false": 0}
        assert values.pop("reference_ml") > 0
        assert set(values.values()) == {0.0}


def test_all_background_network_looks_excellent_by_the_naive_measures(
    reference_labels: np.ndarray,
) -> None:
    naive = metrics.naive_scores(np.zeros_like(reference_labels), reference_labels, CANONICAL)
    voxels = 40 * 36 * 32
    assert naive.pixel_accuracy == pytest.approx(1 - 1000 / voxels)
    background = 2 * (voxels - 1000) / (2 * voxels - 1000)
    assert naive.four_class_dice == pytest.approx(background / 4)
    # of 32 slices 22 are empty; 4 hold oedema, 3 oedema and ET, 3 oedema and NCR
    slice_background = 2 * (1440 - 100) / (2 * 1440 - 100)
    oedema_only, two_labels = (slice_background + 2) / 4, (slice_background + 1) / 4
    assert naive.four_class_slice_dice == pytest.approx(
        (22 + 4 * oedema_only + 6 * two_labels) / 32
    )


def test_naive_slices_are_axial_wherever_the_axial_axis_is(reference_labels: np.ndarray) -> None:
    upright = metrics.naive_scores(np.zeros_like(reference_labels), reference_labels, CANONICAL)
    turned = np.moveaxis(reference_labels, 2, 0)
    grid = Grid(turned.shape, np.array([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]]))
    assert metrics.naive_scores(np.zeros_like(turned), turned, grid) == upright


def test_each_region_is_scored_on_its_own_labels(reference_labels: np.ndarray) -> None:
    predicted = reference_labels.copy()
    predicted[predicted == Label.ET] = Label.NCR_NET  # enhancement missed, core and whole right
    scores = metrics.score(predicted, reference_labels, CANONICAL)
    assert [scores[r].dice for r in (Region.WT, Region.TC, Region.ET)] == [1, 1, 0]


def test_volume_errors_are_millilitres_and_negative_when_tumour_was_missed(
    reference_labels: np.ndarray,
) -> None:
    predicted = reference_labels.copy()
    predicted[:, :, 17] = 0  # 100 of 1000 voxels, 10 mm3 each
    whole = metrics.score(predicted, reference_labels, ANISOTROPIC)[Region.WT]
    assert whole.reference_ml == pytest.approx(10)
    assert whole.volume_error_ml == pytest.approx(-1)
    assert whole.absolute_volume_error_ml == pytest.approx(1)


def test_scores_do_not_depend_on_where_in_the_array_the_tumour_lies(
    reference_labels: np.ndarray,
) -> None:
    predicted = np.roll(reference_labels, 1, axis=0)
    middle = metrics.score(predicted, reference_labels, ANISOTROPIC)
    corner = metrics.score(
        np.roll(predicted, (-8, -8, -8), (0, 1, 2)),
        np.roll(reference_labels, (-8, -8, -8), (0, 1, 2)),
        ANISOTROPIC,
    )
    assert corner == middle


def test_two_empty_segmentations_agree_perfectly() -> None:
    nothing = np.zeros(SHAPE, np.uint8)
    scores = metrics.score(nothing, nothing, CANONICAL)
    assert all(s.dice == 1 and s.hd95_mm == 0 and s.lesions.dice == 1 for s in scores.values())


@pytest.mark.parametrize("scorer", [metrics.score, metrics.naive_scores])
def test_labels_of_another_shape_are_refused(scorer: object, reference_labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"predicted labels .* do not fit the grid"):
        scorer(reference_labels[1:], reference_labels, CANONICAL)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"reference labels .* do not fit the grid"):
        scorer(reference_labels, reference_labels[1:], CANONICAL)  # type: ignore[operator]
