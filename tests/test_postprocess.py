import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from utils.grid import Grid
from utils.labels import Label, labels_of
from utils.postprocess import (
    labels_and_specks,
    steps_taken,
    with_closed_rings,
    without_specks,
)
from utils.segmentation import CERTAIN

CUBE = Grid((20, 20, 20), np.eye(4))
CERTAINLY = np.full((20, 20, 20, 3), CERTAIN, np.uint8)


def test_a_voxel_at_exactly_the_threshold_belongs_to_the_tumour() -> None:
    probabilities = np.zeros((20, 20, 20, 3), np.uint8)
    probabilities[2:10, 2:10, 2:10, 0] = 102  # 0.4 of 255
    probabilities[10:14, 2:10, 2:10, 0] = 101
    labels = labels_and_specks(probabilities, CUBE)[0]
    assert (labels == Label.ED).sum() == 8**3


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_inside_of_a_ring_is_necrosis_in_whatever_plane_it_is_closed(axis: int) -> None:
    tube = np.zeros((20, 20, 20), np.uint8)
    tube[4:14, 4:14, 4:14] = Label.ET
    tube[6:12, 6:12, 4:14] = Label.ED  # open at both ends: no hole in three dimensions
    tube = np.moveaxis(tube, 2, axis)
    closed = with_closed_rings(tube)
    assert (closed == Label.NCR_NET).sum() == 6 * 6 * 10
    assert (closed == Label.ET).sum() == (tube == Label.ET).sum()


def test_the_mask_has_its_rings_closed() -> None:
    stored = np.zeros((20, 20, 20, 3), np.uint8)
    stored[4:14, 4:14, 4:14] = 255
    stored[6:12, 6:12, 4:14, 1:] = 0  # a tube of core whose inside the network calls oedema
    labels, _ = labels_and_specks(stored, CUBE)
    assert (labels == Label.NCR_NET).sum() == 6 * 6 * 10
    assert not (labels == Label.ED).any()


def test_a_bay_that_is_open_in_every_plane_is_left_alone() -> None:
    bay = np.zeros((20, 20, 20), np.uint8)
    bay[4:14, 4:14, 4:14] = Label.ET
    bay[8:14, 8:14, 8:14] = Label.ED  # a corner: every slice of it reaches the outside
    np.testing.assert_array_equal(with_closed_rings(bay), bay)


def test_only_the_tumour_core_closes_rings() -> None:
    oedema = np.zeros((20, 20, 20), np.uint8)
    oedema[4:14, 4:14, 4:14] = Label.ED
    oedema[6:12, 6:12, 6:12] = Label.BACKGROUND
    np.testing.assert_array_equal(with_closed_rings(oedema), oedema)


def test_specks_are_measured_in_millilitres_not_voxels() -> None:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:6, 2:6, 2:6] = Label.ED  # 64 voxels
    assert not without_specks(labels, CERTAINLY, CUBE).any()  # 0.064 mL
    taller = Grid((20, 20, 20), np.diag([1, 1, 2.0, 1]))
    assert without_specks(labels, CERTAINLY, taller).any()  # 0.128 mL


def test_a_speck_within_a_lesion_counts_as_what_it_lies_in() -> None:
    labels = np.full((20, 20, 20), Label.ED, np.uint8)
    labels[1:4, 1:4, 1:4] = Label.ET  # 27 mm3 of core in oedema
    labels[6:16, 6:16, 6:16] = Label.NCR_NET
    labels[6:9, 6:9, 6:9] = Label.ET  # 27 mm3 of enhancement in the core
    labels[10:16, 10:16, 10:16] = Label.ET  # 216 mm3
    found = without_specks(labels, CERTAINLY, CUBE)
    assert (found[1:4, 1:4, 1:4] == Label.ED).all()
    assert (found[6:9, 6:9, 6:9] == Label.NCR_NET).all()
    assert (found == Label.ET).sum() == 216
    np.testing.assert_array_equal(
        without_specks(labels, CERTAINLY, CUBE, 0), labels
    )  # if the reader says so


def test_less_enhancement_than_a_fifth_of_a_millilitre_in_all_counts_as_core() -> None:
    labels = np.full((20, 20, 20), Label.NCR_NET, np.uint8)
    labels[1:5, 1:6, 1:6] = Label.ET  # 100 mm3
    labels[10:13, 10:16, 10:15] = Label.ET  # 90 mm3
    assert (without_specks(labels, CERTAINLY, CUBE) == Label.NCR_NET).all()
    np.testing.assert_array_equal(
        without_specks(labels, CERTAINLY, CUBE, 0), labels
    )  # if the reader says so
    labels[10:13, 10:16, 15] = Label.ET  # 208 mm3 together
    np.testing.assert_array_equal(without_specks(labels, CERTAINLY, CUBE), labels)


def faint(inside: float) -> NDArray[np.uint8]:
    """Two boxes of everything, 216 voxels sure of it, and 343 whose surest voxel is this sure."""
    stored = np.zeros((20, 20, 20, 3), np.uint8)
    stored[1:7, 1:7, 1:7] = CERTAIN
    stored[10:17, 10:17, 10:17] = 0.5 * CERTAIN
    stored[12, 12, 12] = round(inside * CERTAIN)
    return stored


def test_a_finding_that_is_nowhere_four_fifths_likely_is_left_out_unless_it_is_the_largest() -> (
    None
):
    labels, left_out_ml = labels_and_specks(faint(0.8), CUBE)
    assert (labels == Label.ET).sum() == 216 + 343
    assert left_out_ml == ()
    # as tumour and as core it is the largest, as enhancement it goes
    labels, left_out_ml = labels_and_specks(faint(0.79), CUBE)
    assert (labels[10:17, 10:17, 10:17] == Label.NCR_NET).all()
    assert (labels == Label.ET).sum() == 216
    assert left_out_ml == pytest.approx((0.343,))
    stored = faint(0.79)
    stored[1:9, 1:9, 1:9, :2] = CERTAIN  # 512 voxels: now the other one is the smaller
    labels, left_out_ml = labels_and_specks(stored, CUBE)
    assert not labels[10:17, 10:17, 10:17].any()
    assert left_out_ml == pytest.approx((0.343,))
    everything = without_specks(labels_of(stored >= 0.4 * CERTAIN), stored, CUBE, 0)
    assert (everything[10:17, 10:17, 10:17] == Label.ET).all()  # if the reader says so


def test_each_region_must_be_sure_of_itself() -> None:
    stored = np.zeros((20, 20, 20, 3), np.uint8)
    stored[1:19, 1:19, 1:9] = CERTAIN
    stored[1:19, 1:19, 12:18, 0] = CERTAIN  # surely tumour,
    stored[5:12, 5:12, 13:17, 1] = 0.7 * CERTAIN  # hardly core
    labels, left_out_ml = labels_and_specks(stored, CUBE)
    assert (labels[..., 12:18] == Label.ED).sum() == 18 * 18 * 6
    assert left_out_ml == pytest.approx((0.196,))


def test_a_head_without_tumour_stays_without() -> None:
    assert not labels_and_specks(np.zeros((20, 20, 20, 3), np.uint8), CUBE)[0].any()


def test_what_was_dropped_is_listed_in_millilitres_largest_first() -> None:
    probabilities = np.zeros((20, 20, 20, 3), np.uint8)
    probabilities[2:8, 2:8, 2:8] = 255  # 216 voxels of 2 microlitres: kept
    probabilities[12:15, 12:15, 12:15] = 255  # 27 voxels
    probabilities[17, 17, 17] = 255
    probabilities[17, 2, 2:5] = 255
    grid = Grid((20, 20, 20), np.diag([1, 1, 2.0, 1]))
    labels, specks_ml = labels_and_specks(probabilities, grid)
    assert specks_ml == pytest.approx((0.054, 0.006, 0.002))
    assert (labels == Label.ET).sum() == 216


def test_a_full_head_without_background_loses_nothing() -> None:
    # a tumour in every voxel: the first component is not the background
    labels, specks_ml = labels_and_specks(np.full((20, 20, 20, 3), 255, np.uint8), CUBE)
    assert specks_ml == ()
    assert labels.all()


LIMITS = "below 0.1 mL (within a lesion 0.05 mL, enhancing 0.2 mL in all) or nowhere 80% likely"


@pytest.mark.parametrize(
    ("specks_ml", "told"),
    [
        ((), f"no isolated finding {LIMITS} to leave out"),
        ((0.027,), f"1 isolated finding {LIMITS} left out: 0.027 mL"),
        (
            (0.06, 0.05, 0.04, 0.03, 0.02, 0.01, 0.01),
            f"7 isolated findings {LIMITS} left out: 0.060 mL, "
            "0.050 mL, 0.040 mL, 0.030 mL, 0.020 mL, smaller ones",
        ),
    ],
)
def test_what_was_dropped_is_told_in_one_line(specks_ml: tuple[float, ...], told: str) -> None:
    assert steps_taken(specks_ml)[-1] == told


def test_specks_are_counted_where_the_tumour_is_not_over_the_whole_grid() -> None:
    grid = Grid((64, 64, 64), np.eye(4))
    probabilities = np.zeros((*grid.shape, 3), np.uint8)
    probabilities[20:30, 20:30, 20:30] = CERTAIN
    tracemalloc.start()
    try:
        labels_and_specks(probabilities, grid)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 64**3  # three regions, and labels before and after; no integers of 4 or 8
