"""Two masks, or two scans, in one picture."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from utils.grid import Grid
from utils.render import Picture, Style, View, display_window, lettered_rgb, slice_rgb
from utils.volume import Volume

ONLY_FIRST = (230, 159, 0)
ONLY_SECOND = (0, 114, 178)
BOTH = (150, 220, 200)
"""Colours of differences, here and in the viewer; none is a label's.

Okabe and Ito's orange and blue, and a pale green for what agrees: grey is lost on a scan, and comes
near their pink for colour-blind readers.
"""

TILE_MM = 24.0
_OPACITY = 0.6

Mask = NDArray[np.bool_]


def difference_rgb(
    background: Volume, first: Mask, second: Mask, view: View, style: Style
) -> Picture:
    """Paint where two masks agree and where only one of them is, lettered as other slices are.

    Parameters
    ----------
    background : Volume
        Shown in grey.
    first, second : (I, J, K) bool arrays
        On the background's grid.
    view, style : View, Style
        Which slice, and how large.

    Raises
    ------
    ValueError
        If a mask does not fit the background.
    """
    for mask in (first, second):
        if mask.shape != background.grid.shape:
            raise ValueError(f"a mask {mask.shape} does not fit {background.grid.shape}")
    plain = slice_rgb(background, None, view, style)
    lettering = lettered_rgb(background, None, view, style)
    painted = plain.astype(np.float64)
    for where, colour in (
        (first & ~second, ONLY_FIRST),
        (second & ~first, ONLY_SECOND),
        (first & second, BOTH),
    ):
        pixels = _pixels(where, background.grid, view, painted.shape[:2])
        painted[pixels] += _OPACITY * (np.array(colour) - painted[pixels])
    written = (lettering != plain).any(axis=-1)
    painted[written] = lettering[written]
    return np.rint(painted).astype(np.uint8)


def blank(grid: Grid) -> Volume:
    """A black background, for masks that come without a scan."""
    return Volume(np.zeros(grid.shape, np.float32), grid)


def windowed(scan: Volume) -> Volume:
    """The scan with black at 0 and white at 1, so that two scanners' units can be compared."""
    low, high = display_window(scan)
    values = np.clip((scan.values - np.float32(low)) / np.float32(high - low), 0, 1)
    return Volume(values.astype(np.float32), scan.grid)


def checkerboard(first: Volume, second: Volume) -> Volume:
    """Two windowed scans in alternating cubes of ``TILE_MM``: edges run on where they fit.

    Raises
    ------
    ValueError
        If the scans do not share a shape.
    """
    if first.grid.shape != second.grid.shape:
        raise ValueError(f"scans of {first.grid.shape} and {second.grid.shape} voxels do not fit")
    sizes = [max(1, round(TILE_MM / spacing)) for spacing in first.grid.spacing_mm]
    tiles = [np.arange(n) // size for n, size in zip(first.grid.shape, sizes, strict=True)]
    i, j, k = np.meshgrid(*tiles, indexing="ij", sparse=True)
    return Volume(np.where((i + j + k) % 2 == 0, first.values, second.values), first.grid)


def _pixels(mask: Mask, grid: Grid, view: View, size: tuple[int, ...]) -> Mask:
    """The mask's slice at the picture's size."""
    rows, columns = size
    pixels = view.plane.lay_out(mask, grid, view.index)
    if view.mirrored:
        pixels = pixels[:, ::-1]
    image = Image.fromarray(np.ascontiguousarray(pixels).astype(np.uint8))
    resized = np.asarray(image.resize((columns, rows), Image.Resampling.NEAREST))
    return resized > 0
