"""Slices have the number that the viewer gives them, whichever way they are stored."""

from itertools import permutations, product

import numpy as np
import pytest

from pages.components.viewer.encode import DisplayGrid
from utils.grid import Grid
from utils.plane import Plane

SHAPE = (5, 6, 7)


def test_the_first_slice_is_that_at_the_feet_the_back_and_the_left() -> None:
    up = Grid(SHAPE, np.eye(4))
    down = Grid(SHAPE, np.diag([-1.0, -1, -1, 1]))
    for plane, count in zip((Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL), SHAPE, strict=True):
        assert [plane.number_of(i, up) for i in (0, count - 1)] == [1, count]
        assert [plane.number_of(i, down) for i in (0, count - 1)] == [count, 1]
        assert [plane.index_of(n, down) for n in (1, count)] == [count - 1, 0]


@pytest.mark.parametrize("order", [*permutations(range(3))])
@pytest.mark.parametrize("signs", [*product((1.0, -1.0), repeat=3)])
def test_in_every_orientation_it_is_the_viewers_own_number(
    order: tuple[int, ...], signs: tuple[float, ...]
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) * signs)[list(order)]
    grid = Grid(SHAPE, affine)
    voxel = (1, 2, 4)
    shown = DisplayGrid.of(grid).display_voxel(voxel)
    for plane in Plane:
        index = voxel[plane.array_axis(grid)]
        number = plane.number_of(index, grid)
        assert number == shown[plane.value] + 1  # the viewer writes its index plus one
        assert plane.index_of(number, grid) == index
