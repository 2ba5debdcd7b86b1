"""The three anatomical planes, and how an array of any orientation is laid out in them."""

from enum import Enum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from utils.grid import Grid

Scalar = TypeVar("Scalar", bound=np.generic)

_RIGHT_AND_DOWN = {"AXIAL": ("L", "P"), "CORONAL": ("L", "I"), "SAGITTAL": ("P", "I")}
_OPPOSITE = dict(zip("LRPAIS", "RLAPSI", strict=True))


class Plane(Enum):
    """A plane of the body; the value is the direction of its normal among R, A, S.

    On an oblique grid a plane is the array's own slice that lies closest to the body's.
    """

    AXIAL = 2
    CORONAL = 1
    SAGITTAL = 0

    @property
    def title(self) -> str:
        """The name a reader knows."""
        return self.name.capitalize()

    @property
    def right_and_down(self) -> tuple[str, str]:
        """Directions in the body of the picture's right and lower edge, radiological convention.

        The viewer stands at the patient's feet (axial), faces the patient (coronal), or stands at
        the patient's left (sagittal).
        """
        return _RIGHT_AND_DOWN[self.name]

    def array_axis(self, grid: Grid) -> int:
        """Find the array axis along which slices of this plane are counted."""
        return _axis_along(grid, "RAS"[self.value])

    def slice_count(self, grid: Grid) -> int:
        """Count the slices."""
        return grid.shape[self.array_axis(grid)]

    def number_of(self, index: int, grid: Grid) -> int:
        """Count a slice for a reader as the viewer does, whichever way the file stores it.

        From 1, which lies at the patient's feet (axial), back (coronal) or left (sagittal).
        """
        return index + 1 if self._ascends(grid) else self.slice_count(grid) - index

    def index_of(self, number: int, grid: Grid) -> int:
        """Slice number along `array_axis` of the one that a reader calls by this number."""
        return number - 1 if self._ascends(grid) else self.slice_count(grid) - number

    def lay_out(self, values: NDArray[Scalar], grid: Grid, index: int) -> NDArray[Scalar]:
        """Cut one slice in radiological convention.

        Parameters
        ----------
        values : (I, J, K) array
            Anything on `grid`.
        grid : Grid
            Where the array lies.
        index : int
            Slice number along `array_axis`, as the file stores it.

        Returns
        -------
        (rows, columns) array
            A view of `values`: rows run down the picture, columns to the right.

        Raises
        ------
        IndexError
            If there is no such slice.
        """
        count = self.slice_count(grid)
        if not 0 <= index < count:
            raise IndexError(f"{self.title} slice {index} is outside 0 to {count - 1}")
        (row_axis, row_sign), (column_axis, column_sign) = self._rows_and_columns(grid)
        order = (self.array_axis(grid), row_axis, column_axis)
        picture: NDArray[Scalar] = np.transpose(values, order)[index]
        return picture[::row_sign, ::column_sign]

    def pixel_of(self, voxel: tuple[float, float, float], grid: Grid) -> tuple[float, float]:
        """Row and column at which `lay_out` puts a voxel index, fractions of voxels included."""
        row, column = (
            voxel[axis] if sign > 0 else grid.shape[axis] - 1 - voxel[axis]
            for axis, sign in self._rows_and_columns(grid)
        )
        return row, column

    def pixel_size_mm(self, grid: Grid) -> tuple[float, float]:
        """Height and width of a pixel of `lay_out`."""
        (row_axis, _), (column_axis, _) = self._rows_and_columns(grid)
        return grid.spacing_mm[row_axis], grid.spacing_mm[column_axis]

    def _ascends(self, grid: Grid) -> bool:
        return grid.orientation[self.array_axis(grid)] == "RAS"[self.value]

    def _rows_and_columns(self, grid: Grid) -> tuple[tuple[int, int], tuple[int, int]]:
        """Array axis, and 1 if it runs the picture's way or else -1, of rows and of columns."""
        right, down = self.right_and_down
        row_axis, column_axis = _axis_along(grid, down), _axis_along(grid, right)
        row_sign = 1 if grid.orientation[row_axis] == down else -1
        column_sign = 1 if grid.orientation[column_axis] == right else -1
        return (row_axis, row_sign), (column_axis, column_sign)


def opposite(direction: str) -> str:
    """Name the other end of a body axis: R for L, P for A, I for S."""
    return _OPPOSITE[direction]


def _axis_along(grid: Grid, direction: str) -> int:
    """Find the array axis that runs along a body direction, forwards or backwards."""
    return next(
        axis
        for axis, letter in enumerate(grid.orientation)
        if letter in (direction, _OPPOSITE[direction])
    )
