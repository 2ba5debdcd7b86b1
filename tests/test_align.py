"""Grids brought together: exactly by swapping axes, or rigidly, with motions known beforehand."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from utils.align import align, carried, rearranged, refuse_grid
from utils.errors import GridMismatchError
from utils.grid import Grid
from utils.phantom import ellipsoid
from utils.volume import Volume

PATIENT = 600.0  # s: a busy computer is no failure of the arithmetic
CENTRE_MM = np.array([4.0, -6.0, 10.0])


def grid_of(spacing: float = 2.0, shape: tuple[int, int, int] = (84, 100, 84)) -> Grid:
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    middle = affine[:3, :3] @ (np.array(shape) - 1) / 2
    affine[:3, 3] = CENTRE_MM - middle
    return Grid(shape, affine)


def head(grid: Grid) -> NDArray[np.float32]:
    """A lopsided head with ventricles and texture, drawn from formulas in mm: any grid will do."""
    x, y, z = CENTRE_MM
    values = np.zeros(grid.shape, np.float32)
    values[ellipsoid(grid, (x, y, z), (66, 82, 62))] = 100
    values[ellipsoid(grid, (x - 20, y + 25, z + 5), (24, 30, 20))] = 150
    values[ellipsoid(grid, (x + 25, y - 30, z + 15), (18, 14, 22))] = 60
    values[ellipsoid(grid, (x + 5, y + 5, z - 25), (9, 30, 8))] = 30
    values[ellipsoid(grid, (x - 30, y - 35, z - 10), (12, 10, 14))] = 200
    i, j, k = np.indices(grid.shape, dtype=np.float32)
    for period, row in zip((31, 23, 37), grid.affine[:3], strict=True):  # folds, so to speak
        along = row[0] * i + row[1] * j + row[2] * k + row[3]
        values *= (1 + 0.25 * np.cos(2 * np.pi * along / period)).astype(np.float32)
    return ndimage.gaussian_filter(values, 0.8).astype(np.float32) * (values > 0)


def motion(degrees: tuple[float, float, float], shift: tuple[float, float, float]) -> NDArray:
    """Turn about the head's centre, then shift; (4, 4), from the current visit to the earlier."""
    matrix = np.eye(4)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        a, b = [n for n in range(3) if n != axis]
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix[:3, :3] = turn @ matrix[:3, :3]
    matrix[:3, 3] = CENTRE_MM - matrix[:3, :3] @ CENTRE_MM + shift
    return matrix


# ---- exact ----


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (-1, -1, -1)])
def test_swapped_and_flipped_axes_are_put_in_order_by_their_coordinates(
    grid: Grid, order: tuple[int, int, int], flips: tuple[int, int, int]
) -> None:
    values = np.arange(np.prod(grid.shape)).reshape(grid.shape).astype(np.int32)
    stored = values.transpose(order)[tuple(slice(None, None, s) for s in flips)]
    affine = np.eye(4)
    for n, (axis, sign) in enumerate(zip(order, flips, strict=True)):
        affine[:3, n] = grid.affine[:3, axis] * sign
    first = [0 if s > 0 else grid.shape[a] - 1 for a, s in zip(order, flips, strict=True)]
    corner = np.zeros(4)
    for axis, index in zip(order, first, strict=True):
        corner[axis] = index
    corner[3] = 1
    affine[:, 3] = grid.affine @ corner
    found = rearranged(stored, Grid(stored.shape, affine), grid)
    assert found is not None
    np.testing.assert_array_equal(found, values)


def test_a_tenth_of_a_millimetre_is_tolerated_and_more_is_not(grid: Grid) -> None:
    values = np.zeros(grid.shape, np.uint8)
    for shift_mm, fits in ((0.09, True), (0.11, False)):
        affine = grid.affine.copy()
        affine[0, 3] += shift_mm
        assert (rearranged(values, Grid(grid.shape, affine), grid) is not None) is fits


def test_another_spacing_shape_or_turn_is_refused(grid: Grid) -> None:
    values = np.zeros(grid.shape, np.uint8)
    wider = grid.affine.copy()
    wider[:3, 0] *= 1.05
    turned = motion((0, 0, 3), (0, 0, 0)) @ grid.affine
    sheared = grid.affine.copy()
    sheared[:3, 1] += 5 * sheared[:3, 0]
    for affine in (wider, turned, sheared):
        assert rearranged(values, Grid(grid.shape, affine), grid) is None
    smaller = values[:-1]
    assert rearranged(smaller, Grid(smaller.shape, grid.affine), grid) is None


def test_the_refusal_names_the_mask_the_amount_and_the_next_step(grid: Grid) -> None:
    affine = grid.affine.copy()
    affine[:3, 3] += (3, 0, 4)
    text = str(refuse_grid("The reference mask", Grid(grid.shape, affine), grid))
    assert text.startswith("The reference mask")
    assert "off by 5.0 mm" in text
    assert "nearest neighbour" in text


# ---- rigid ----


def test_a_known_motion_is_found_within_half_a_millimetre_and_half_a_degree() -> None:
    grid, other = grid_of(), grid_of(1.8, (96, 110, 92))
    current = Volume(head(grid), grid)
    truth = motion((5, -4, 8), (6, -9, 5))
    # a point p of the current head was at truth(p): the earlier scan shows there what p shows now
    earlier = Volume(carried(head(grid), grid, other, np.linalg.inv(truth)), other)
    found = align(earlier, current, PATIENT)
    error = np.linalg.inv(truth) @ found.to_earlier
    corners = [(*(CENTRE_MM + 60 * np.array(s)), 1) for s in np.ndindex(2, 2, 2)]
    off_mm = [np.linalg.norm((error @ c - c)[:3]) for c in corners]
    cosine = (np.trace(error[:3, :3]) - 1) / 2
    assert max(off_mm) < 0.5
    assert np.degrees(np.arccos(min(cosine, 1))) < 0.5
    assert found.shift_mm == pytest.approx(np.linalg.norm((6, -9, 5)), abs=0.5)
    assert found.overlap > 0.94 > found.overlap_before
    assert found.correlation > 0.95 > found.correlation_before


def test_the_same_scans_give_the_same_answer_every_time() -> None:
    grid = grid_of(4.0, (42, 50, 42))
    current = Volume(head(grid), grid)
    earlier = Volume(carried(head(grid), grid, grid, motion((0, 0, 4), (3, 0, 0))), grid)
    first, second = (align(earlier, current, PATIENT).to_earlier for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_two_different_heads_are_not_forced_onto_one_another() -> None:
    grid = grid_of(4.0, (42, 50, 42))
    ball = ellipsoid(grid, (4, -6, 10), (25, 25, 25)).astype(np.float32)
    with pytest.raises(GridMismatchError, match="overlap"):
        align(Volume(ball, grid), Volume(head(grid), grid), PATIENT)


def test_an_empty_scan_and_a_time_limit_end_in_a_sentence() -> None:
    grid = grid_of(4.0, (42, 50, 42))
    current = Volume(head(grid), grid)
    with pytest.raises(GridMismatchError, match="tissue"):
        align(Volume(np.zeros(grid.shape, np.float32), grid), current)
    with pytest.raises(GridMismatchError, match="within 0 s"):
        align(Volume(head(grid), grid), current, longest_s=0)


def test_labels_are_carried_whole_and_scans_smoothly(grid: Grid) -> None:
    labels = np.zeros(grid.shape, np.uint8)
    labels[8:12, 8:12, 8:12] = 4
    half_a_voxel = np.eye(4)
    half_a_voxel[:3, 3] = grid.affine[:3, 0] / 2.5
    assert set(np.unique(carried(labels, grid, grid, half_a_voxel))) == {0, 4}
    scan = labels.astype(np.float32)
    assert len(np.unique(carried(scan, grid, grid, half_a_voxel).round(3))) > 2


def test_what_the_earlier_scan_did_not_cover_is_nothing(grid: Grid) -> None:
    away = np.eye(4)
    away[0, 3] = 1000
    assert not carried(np.ones(grid.shape, np.uint8), grid, grid, away).any()
