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
        """Directions of the picture's right and lower edge in radiological convention.

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
        right, down = self.right_and_down
        order = (self.array_axis(grid), _axis_along(grid, down), _axis_along(grid, right))
        picture: NDArray[Scalar] = np.transpose(values, order)[index]
        if grid.orientation[order[1]] != down:
            picture = picture[::-1]
        if grid.orientation[order[2]] != right:
            picture = picture[:, ::-1]
        return picture

    def pixel_size_mm(self, grid: Grid) -> tuple[float, float]:
        """Height and width of a pixel of `lay_out`."""
        right, down = self.right_and_down
        return grid.spacing_mm[_axis_along(grid, down)], grid.spacing_mm[_axis_along(grid, right)]


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
