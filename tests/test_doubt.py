"""Doubt that was put where the test knows it."""

import numpy as np
import pytest

from utils.doubt import doubtful_slices, volume_spreads
from utils.grid import Grid
from utils.labels import Label, Region
from utils.plane import Plane
from utils.segmentation import CERTAIN, Provenance, Segmentation

MADE_BY = Provenance("fake", "0" * 64, "by hand", 1.0)


def segmentation(grid: Grid, *doubtful: tuple[int, int]) -> Segmentation:
    """A certain box of oedema; on slice k of each pair (k, n), 10 x n voxels of probability 0.6."""
    probabilities = np.zeros((*grid.shape, 3), np.uint8)
    probabilities[5:25, 5:25, 2:-2, 0] = CERTAIN
    for k, n in doubtful:
        probabilities[10:20, 5 : 5 + n, k, 0] = 0.6 * CERTAIN
    labels = np.where(probabilities[..., 0] > 0, np.uint8(Label.ED), np.uint8(0))
    return Segmentation(labels, probabilities, grid, MADE_BY)


def test_a_volume_is_in_doubt_by_how_much_more_is_possible_than_sure() -> None:
    stored = np.zeros((20, 20, 20, 3), np.uint8)
    stored[:10, :10, :10, 0] = 0.8 * CERTAIN  # 1 mL with voxels of 1 mm
    stored[10:, :10, :10, 0] = 0.79 * CERTAIN  # 1 mL
    stored[:10, 10:, :10, 0] = 26  # 1 mL, more than a tenth of 255
    stored[:10, :10, 10:, 0] = 25  # less
    stored[:10, :10, :10, 1] = CERTAIN
    grid = Grid((20, 20, 20), np.eye(4))
    found = Segmentation(np.zeros(grid.shape, np.uint8), stored, grid, MADE_BY)
    # 3 + 1 over 1 + 1; as much as is sure; nothing
    expected = {Region.WT: np.log(2), Region.TC: 0, Region.ET: 0}
    assert volume_spreads(found) == pytest.approx(expected)
    twice = Grid((20, 20, 20), np.diag([1, 1, 2.0, 1]))
    found = Segmentation(np.zeros(grid.shape, np.uint8), stored, twice, MADE_BY)
    assert volume_spreads(found)[Region.WT] == pytest.approx(np.log(7 / 3))


def test_the_worst_slice_comes_first_with_its_expected_error() -> None:
    grid = Grid((40, 40, 40), np.diag([1, 1, 2.0, 1]))
    found = doubtful_slices(segmentation(grid, (10, 10), (30, 20)))
    assert [slice_.voxel[2] for slice_ in found] == [30, 10]
    # 200 and 100 voxels of 0.002 mL, each wrong with probability 0.4
    assert [s.expected_error_ml for s in found] == pytest.approx([0.16, 0.08])


def test_neighbours_of_a_worse_slice_are_not_listed() -> None:
    grid = Grid((40, 40, 40), np.diag([1, 1, 2.0, 1]))
    found = doubtful_slices(segmentation(grid, (20, 20), (17, 19), (23, 18), (25, 17)))
    assert [slice_.voxel[2] for slice_ in found] == [20, 25]  # 6, 6 and 10 mm away
    at_the_end = doubtful_slices(segmentation(grid, (2, 20), (4, 18), (37, 16)))
    assert [slice_.voxel[2] for slice_ in at_the_end] == [2, 37]


def test_the_place_is_where_the_doubt_lies() -> None:
    grid = Grid((40, 40, 40), np.eye(4) * [1, 1, 2, 1])
    (found,) = doubtful_slices(segmentation(grid, (20, 16)))
    i, j, k = found.voxel
    assert (10 <= i < 20, 5 <= j < 21, k) == (True, True, 20)


def test_slices_are_counted_along_the_planes_own_axis() -> None:
    first_axis_is_up = np.array([[0, 0, 1.0, 0], [0, 1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1]])
    turned = segmentation(Grid((40, 40, 40), np.diag([1, 1, 2.0, 1])), (30, 20))
    grid = Grid((40, 40, 40), first_axis_is_up)
    swapped = Segmentation(
        turned.labels.swapaxes(0, 2).copy(),
        turned.probabilities.swapaxes(0, 2).copy(),
        grid,
        MADE_BY,
    )
    assert doubtful_slices(swapped, Plane.AXIAL)[0].voxel[0] == 30


def test_a_label_against_the_probabilities_is_doubted_and_a_certain_one_is_not() -> None:
    grid = Grid((40, 40, 40), np.eye(4))
    sure = segmentation(grid)
    assert doubtful_slices(sure) == ()
    ignored = Segmentation(np.zeros_like(sure.labels), sure.probabilities, grid, MADE_BY)
    assert doubtful_slices(ignored)[0].expected_error_ml == pytest.approx(0.4)  # 20 x 20 voxels


def test_parts_of_the_core_are_told_apart() -> None:
    grid = Grid((30, 30, 30), np.eye(4))
    probabilities = np.zeros((*grid.shape, 3), np.uint8)
    probabilities[5:25, 5:25, 10] = (CERTAIN, CERTAIN, 0.2 * CERTAIN)
    labels = np.zeros(grid.shape, np.uint8)
    labels[5:25, 5:25, 10] = Label.NCR_NET
    (found,) = doubtful_slices(Segmentation(labels, probabilities, grid, MADE_BY))
    assert found.expected_error_ml == pytest.approx(0.08)  # 400 voxels, wrong with 0.2


def test_a_core_more_probable_than_the_tumour_around_it_counts_no_more_than_that() -> None:
    grid = Grid((30, 30, 30), np.eye(4))
    probabilities = np.zeros((*grid.shape, 3), np.uint8)
    probabilities[5:25, 5:25, 10] = (0.6 * CERTAIN, CERTAIN, 0)
    labels = np.zeros(grid.shape, np.uint8)
    labels[5:25, 5:25, 10] = Label.ED  # impossible where all tumour is core
    (found,) = doubtful_slices(Segmentation(labels, probabilities, grid, MADE_BY))
    assert found.expected_error_ml == pytest.approx(0.4)  # 400 voxels, all of them wrong
