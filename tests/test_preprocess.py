import tracemalloc
from itertools import permutations, product

import numpy as np
import pytest

from utils.errors import EmptyStudyError, ImplausibleStudyError
from utils.grid import Grid
from utils.preprocess import preprocess
from utils.study import Modality, Study
from utils.volume import Volume

SHAPE = (20, 24, 16)


def study_of(values: np.ndarray, affine: np.ndarray) -> Study:
    grid = Grid(values.shape, affine)
    return Study({m: Volume(values.astype(np.float32), grid) for m in Modality})


def head() -> np.ndarray:
    """A box of brain, 1 to 101, in LPS."""
    values = np.zeros(SHAPE, np.float32)
    values[2:18, 3:21, 1:15] = np.linspace(1, 101, 16 * 18 * 14).reshape(16, 18, 14)
    return values


def every_orientation() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return list(product(permutations(range(3)), product((1, -1), repeat=3)))


def reoriented(values: np.ndarray, order: tuple[int, ...], signs: tuple[int, ...]) -> tuple:
    """The same anatomy, its axes permuted and flipped in the file, with the affine that says so."""
    lps = np.diag([-1.0, -1, 1, 1])
    turned = values.transpose(order)[tuple(slice(None, None, s) for s in signs)]
    to_lps = np.zeros((4, 4))
    to_lps[3, 3] = 1
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        to_lps[old, new] = sign
        to_lps[old, 3] = 0 if sign == 1 else values.shape[old] - 1
    return turned, lps @ to_lps


@pytest.mark.parametrize(("order", "signs"), every_orientation())
def test_the_network_sees_the_same_head_whatever_the_orientation_of_the_file(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    expected, _ = preprocess(study_of(head(), np.diag([-1.0, -1, 1, 1])))
    turned, affine = reoriented(head(), order, signs)
    study = study_of(turned, affine)
    tensor, placement = preprocess(study)
    np.testing.assert_allclose(tensor, expected, atol=1e-6)

    marked = np.zeros((*tensor.shape[:3], 3), np.uint8)
    marked[0, 1, 2] = 255  # in the file's LPS: voxel (2, 4, 3)
    back = placement.restore(marked)
    assert back.shape == (*study.grid.shape, 3)
    (voxel,) = np.argwhere(back[..., 0])
    np.testing.assert_allclose(study.grid.affine @ [*voxel, 1], [-2, -4, 3, 1], atol=1e-9)


def test_each_modality_is_scaled_over_the_brain_of_the_whole_volume() -> None:
    study = study_of(head(), np.diag([-1.0, -1, 1, 1]))
    tensor, _ = preprocess(study)
    # 4032 brain voxels from 1 to 101: percentiles 0.1 and 99.9 cut 0.1 off at both ends
    np.testing.assert_allclose(tensor[8, 9, 7], (head()[10, 12, 8] - 1.1) / 99.8, atol=1e-4)
    assert tensor.min() == 0
    assert tensor.max() == pytest.approx(1)


def test_one_hot_voxel_does_not_flatten_the_contrast() -> None:
    hot = head()
    hot[10, 10, 10] = 1e6
    plain, _ = preprocess(study_of(head(), np.eye(4)))
    spoilt, _ = preprocess(study_of(hot, np.eye(4)))
    assert np.median(np.abs(spoilt - plain)) < 0.01


@pytest.mark.parametrize("factor", [1e-38, 1e-19, 1e-15, 1e-12, 1e30])
def test_a_scan_in_other_units_gives_the_same_input(factor: float) -> None:
    expected, _ = preprocess(study_of(head(), np.eye(4)))
    found, _ = preprocess(study_of(head() * np.float32(factor), np.eye(4)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_scaling_knows_no_slices() -> None:
    """A dim slice stays dim; scaling slice by slice would stretch it."""
    values = head()
    values[:, :, 1] *= 0.01
    tensor, _ = preprocess(study_of(values, np.diag([-1.0, -1, 1, 1])))
    assert tensor[:, :, 0].max() < 0.02


def test_air_inside_the_box_does_not_count_for_the_scaling() -> None:
    values = np.zeros(SHAPE, np.float32)
    values[2:18, 3:21, 1], values[2:18, 3:21, 14] = 100, 200  # air between
    tensor, _ = preprocess(study_of(values, np.diag([-1.0, -1, 1, 1])))
    assert tensor[:, :, 0].max() == 0  # over the brain 100 is the least; over the box it were 0.5
    assert tensor[:, :, 13].min() == pytest.approx(1)


def test_each_scan_reaches_the_network_in_its_own_channel() -> None:
    grid = Grid(SHAPE, np.diag([-1.0, -1, 1, 1]))
    scans = {}
    for number, modality in enumerate((Modality.FLAIR, Modality.T1, Modality.T1CE, Modality.T2), 1):
        values = np.zeros(SHAPE, np.float32)
        values[2:18, 3:21, 1:15] = 1
        values[2 : 2 + 3 * number, 3:21, 1:15] = 100
        scans[modality] = Volume(values, grid)
    tensor, _ = preprocess(Study(scans))
    # 3, 6, 9 and 12 of 16 planes of FLAIR, T1, T1ce and T2 are bright
    assert tensor.mean(axis=(0, 1, 2)) == pytest.approx([3 / 16, 6 / 16, 9 / 16, 12 / 16], abs=1e-3)


def test_each_axis_is_padded_with_zeros_to_a_multiple() -> None:
    tensor, placement = preprocess(study_of(head(), np.eye(4)), 8)
    assert tensor.shape == (16, 24, 16, 4)
    assert not tensor[:, 18:].any()
    assert not tensor[:, :, 14:].any()
    assert placement.resampled == (16, 18, 14)


def test_a_grid_of_2_mm_becomes_1_mm_and_comes_back_on_its_own_voxels() -> None:
    values = np.zeros((20, 20, 20), np.float32)
    values[4:16, 4:16, 4:16] = np.random.default_rng(0).uniform(1, 2, (12, 12, 12))
    study = study_of(values, np.diag([2.0, 2, 4, 1]))
    tensor, placement = preprocess(study)
    assert tensor.shape == (24, 24, 48, 4)
    ones = np.full((24, 24, 48, 3), 255, np.uint8)
    back = placement.restore(ones)
    expected = np.zeros((20, 20, 20), np.uint8)
    expected[4:16, 4:16, 4:16] = 255
    np.testing.assert_array_equal(back[..., 1], expected)


def test_what_1_mm_cannot_hold_is_averaged_not_sampled() -> None:
    values = np.zeros((80, 80, 80), np.float32)
    stripes = np.tile(np.array([100, 200, 200, 100], np.float32), 16)  # mean 150 in each mm
    values[8:72, 8:72, 8:72] = stripes[:, None, None]
    tensor, _ = preprocess(study_of(values, np.diag([-0.25, -0.25, 0.25, 1])))
    assert tensor.shape == (16, 16, 16, 4)
    np.testing.assert_allclose(tensor[2:-2], 0.5, atol=0.15)  # sampled, every voxel were 1


def test_a_resampled_mark_returns_to_the_voxel_it_came_from() -> None:
    values = np.zeros((12, 12, 12), np.float32)
    values[1:11, 1:11, 1:11] = 1 + np.arange(1000).reshape(10, 10, 10) % 7
    study = study_of(values, np.diag([-2.0, -2, 2, 1]))
    tensor, placement = preprocess(study)
    marked = np.zeros((*tensor.shape[:3], 3), np.uint8)
    marked[6:8, 4:6, 10:12] = 255  # the eight 1 mm voxels of voxel (3, 2, 5) of the box
    back = placement.restore(marked)[..., 0]
    assert np.unravel_index(back.argmax(), back.shape) == (4, 3, 6)


@pytest.mark.parametrize(
    ("edge_mm", "resampled"), [(1.0, False), (1.004, False), (2.0, True), (0.5, True)]
)
def test_resampling_is_told_where_it_was_done(edge_mm: float, resampled: bool) -> None:
    grid = np.diag([edge_mm, edge_mm, edge_mm, 1])  # RAS
    tensor, placement = preprocess(study_of(head(), grid))
    assert (tensor.shape[:3] != (16, 18, 14)) is resampled
    assert placement.steps == (
        "reoriented from RAS to LPS and back",
        *(["resampled to 1 mm and back, linearly"] if resampled else []),
        "each scan MinMax-scaled over the brain between its 0.1 and 99.9 percentiles",
    )


def test_a_head_of_half_a_metre_is_refused_before_memory_is_asked_for() -> None:
    study = study_of(np.ones((60, 60, 60)) + np.arange(60), np.diag([10.0, 10, 10, 1]))
    with pytest.raises(ImplausibleStudyError, match="60 x 60 x 60 cm, which is no head"):
        preprocess(study)


def test_a_blank_study_is_refused() -> None:
    with pytest.raises(EmptyStudyError, match="blank"):
        preprocess(study_of(np.zeros(SHAPE), np.eye(4)))


def test_one_scan_at_a_time_is_held_as_floats() -> None:
    # 8 bytes a brain voxel as double, 4 each as they are, cropped and resampled, and masks
    rng = np.random.default_rng(0)
    grid = Grid((64, 64, 64), np.diag([-0.5, -0.5, 0.5, 1]))
    scans = {m: Volume(rng.integers(1, 900, grid.shape, np.int16), grid) for m in Modality}
    tracemalloc.start()
    try:
        preprocess(Study(scans))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30 * 64**3
