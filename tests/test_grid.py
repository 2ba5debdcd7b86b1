import numpy as np
import pytest

from utils.grid import Grid


def test_voxel_volume_of_a_2x3x4_mm_grid_is_24_microlitres() -> None:
    assert Grid((1, 1, 1), np.diag([2, 3, 4, 1])).voxel_volume_ml == pytest.approx(0.024)


def test_voxel_volume_of_a_sheared_grid_is_base_times_height() -> None:
    sheared = np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert Grid((1, 1, 1), sheared).voxel_volume_ml == pytest.approx(0.001)


def test_displacement_is_the_shift_in_mm(grid: Grid) -> None:
    moved = grid.affine.copy()
    moved[:3, 3] += [3, 4, 0]
    assert grid.displacement_mm(Grid(grid.shape, moved)) == pytest.approx(5)


def test_a_turned_grid_is_displaced_at_its_far_corner() -> None:
    turned = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    # the corner (3, 4, 0) goes to (-4, 3, 0): 7 and 1 mm away
    assert Grid((4, 5, 1), np.eye(4)).displacement_mm(Grid((4, 5, 1), turned)) == pytest.approx(
        50**0.5
    )


def test_grids_of_different_shape_are_infinitely_apart() -> None:
    assert Grid((2, 2, 2), np.eye(4)).displacement_mm(Grid((2, 2, 3), np.eye(4))) == float("inf")


def test_affine_cannot_be_changed(grid: Grid) -> None:
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 9


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.eye(3), np.full((4, 4), np.nan)])
def test_impossible_affines_are_refused(affine: np.ndarray) -> None:
    with pytest.raises(ValueError, match="affine"):
        Grid((1, 1, 1), affine)


def test_brats_arrays_grow_to_the_left_the_back_and_the_top() -> None:
    assert Grid((240, 240, 155), np.diag([-1, -1, 1, 1])).orientation == "LPS"
