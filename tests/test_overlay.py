"""Two masks or two scans in one picture: colours and squares counted on paper."""

import numpy as np
import pytest

from utils.grid import Grid
from utils.overlay import BOTH, ONLY_FIRST, ONLY_SECOND, blank, checkerboard, difference_rgb
from utils.overlay import windowed as windowed_scan
from utils.plane import Plane
from utils.render import Style, View
from utils.volume import Volume

GRID = Grid((40, 40, 20), np.diag([-1.0, -1, 1, 1]))  # LPS: rows and columns run as on the screen
TEN_PIXELS_A_VOXEL = Style(longest_side_px=400)
MIDDLE = View(Plane.AXIAL, 10, (0.0, 1.0))


def box(first: int, last: int) -> np.ndarray:
    mask = np.zeros(GRID.shape, np.bool_)
    mask[first:last, 12:16, 8:12] = True
    return mask


def test_only_the_first_only_the_second_and_both_have_a_colour_each() -> None:
    picture = difference_rgb(blank(GRID), box(10, 16), box(14, 20), MIDDLE, TEN_PIXELS_A_VOXEL)
    found = [tuple(picture[145, 10 * voxel + 5].tolist()) for voxel in (11, 15, 18, 22)]
    expected = [tuple(round(0.6 * c) for c in colour) for colour in (ONLY_FIRST, BOTH, ONLY_SECOND)]
    assert found == [*expected, (0, 0, 0)]


def test_what_lies_on_another_slice_is_not_shown() -> None:
    view = View(Plane.AXIAL, 3, (0.0, 1.0))
    picture = difference_rgb(blank(GRID), box(10, 16), box(14, 20), view, TEN_PIXELS_A_VOXEL)
    assert not picture[120:160, 100:200].any()


def test_the_side_letters_are_there_and_not_painted_over() -> None:
    everywhere = np.ones(GRID.shape, np.bool_)
    painted = difference_rgb(blank(GRID), everywhere, everywhere, MIDDLE, TEN_PIXELS_A_VOXEL)
    assert (painted[190:210, :24] == 255).all(axis=-1).any()  # the R on the left edge


def test_a_mirrored_view_mirrors_the_masks_too() -> None:
    view = View(Plane.AXIAL, 10, (0.0, 1.0), radiological=False)
    picture = difference_rgb(blank(GRID), box(10, 16), box(10, 16), view, TEN_PIXELS_A_VOXEL)
    assert picture[145, 399 - 125].any()
    assert not picture[145, 125].any()


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        difference_rgb(blank(GRID), box(1, 2), box(1, 2)[:-1], MIDDLE, TEN_PIXELS_A_VOXEL)


def test_squares_of_24_mm_alternate() -> None:
    grid = Grid((96, 48, 12), np.diag([1.0, 2.0, 4.0, 1.0]))
    black, white = blank(grid), Volume(np.ones(grid.shape, np.float32), grid)
    board = checkerboard(black, white).values
    assert board[0, 0, 0] == board[23, 11, 5] == 0
    assert board[24, 0, 0] == board[0, 12, 0] == board[0, 0, 6] == 1
    assert board[24, 12, 0] == 0
    with pytest.raises(ValueError, match="do not fit"):
        checkerboard(black, blank(GRID))


def test_two_scanners_units_become_one() -> None:
    values = np.random.default_rng(0).uniform(100, 200, GRID.shape).astype(np.float32)
    first = windowed_scan(Volume(values, GRID)).values
    second = windowed_scan(Volume(values * np.float32(7), GRID)).values
    np.testing.assert_allclose(first, second, atol=1e-4)
    assert first.min() == 0
    assert first.max() == 1
