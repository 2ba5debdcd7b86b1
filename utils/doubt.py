"""What the model itself doubts: by how much a volume may differ, and on which slices to look."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.labels import Label, Region
from utils.plane import Plane
from utils.postprocess import SURE
from utils.segmentation import CERTAIN, Segmentation

APART_MM = 8.0  # slices that are closer show the same place
NEIGHBOURHOOD_MM = 10.0
LEAST_ML = 0.05  # a slice with less in doubt is not worth a click
POSSIBLE = 0.1  # the probability from which on a voxel may belong to a region
OFFSET_ML = 1.0
"""Added to volumes before their ratio is taken: tiny ones have no meaningful ratio."""


@dataclass(frozen=True)
class DoubtfulSlice:
    """A slice and what is in doubt on it.

    Attributes
    ----------
    voxel : (i, j, k)
        The middle of the most doubtful place on the slice.
    expected_error_ml : float
        How much of the slice the model expects to have labelled wrongly.
    """

    voxel: tuple[int, int, int]
    expected_error_ml: float


def volume_spreads(segmentation: Segmentation) -> dict[Region, float]:
    """How much of each region is in doubt: the logarithm of possible over all but sure volume.

    0 where the model doubts nothing; 0.7 where twice as much is possible as is sure.
    """
    spreads = {}
    for channel, (region, sure) in enumerate(zip(Region, SURE, strict=True)):
        given = segmentation.probabilities[..., channel]
        possible_ml, sure_ml = (
            np.count_nonzero(given >= least * CERTAIN) * segmentation.grid.voxel_volume_ml
            for least in (POSSIBLE, sure)
        )
        spreads[region] = float(np.log((possible_ml + OFFSET_ML) / (sure_ml + OFFSET_ML)))
    return spreads


def doubtful_slices(
    segmentation: Segmentation, plane: Plane = Plane.AXIAL, most: int = 5
) -> tuple[DoubtfulSlice, ...]:
    """Find the slices with most expected error, worst first, none close to a worse one.

    The expected error is the sum over voxels of one minus the probability of the label given. It is
    as good as the model's probabilities are, and knows nothing of what the model does not suspect.
    """
    grid = segmentation.grid
    axis = plane.array_axis(grid)
    doubt = np.moveaxis(_probability_of_error(segmentation), axis, 0)
    errors_ml = doubt.sum(axis=(1, 2), dtype=np.float64) * grid.voxel_volume_ml
    apart = round(APART_MM / grid.spacing_mm[axis])
    in_plane_mm = np.delete(grid.spacing_mm, axis)
    found: list[DoubtfulSlice] = []
    while len(found) < most and errors_ml.max() >= LEAST_ML:
        index = int(errors_ml.argmax())
        voxel = np.insert(_middle_of_most(doubt[index], in_plane_mm), axis, index).tolist()
        found.append(DoubtfulSlice((voxel[0], voxel[1], voxel[2]), float(errors_ml[index])))
        errors_ml[max(0, index - apart) : index + apart + 1] = 0
    return tuple(found)


def _probability_of_error(segmentation: Segmentation) -> NDArray[np.float32]:
    """(I, J, K) one minus the probability of each voxel's own label."""
    doubt = np.zeros(segmentation.grid.shape, np.float32)
    thought_of = segmentation.probabilities[..., 0] > 0
    for box in ndimage.find_objects(thought_of.astype(np.uint8)):  # at most one
        doubt[box] = _one_minus_own(segmentation.probabilities[box], segmentation.labels[box])
    return doubt


def _one_minus_own(
    probabilities: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Doubt from (..., 3) nested probabilities of WT, TC and ET and the (...) labels given."""
    whole, core, enhancing = np.moveaxis(
        np.minimum.accumulate(probabilities.astype(np.int16), axis=-1), -1, 0
    )
    own = np.select(
        [labels == label for label in (Label.ET, Label.NCR_NET, Label.ED)],
        [enhancing, core - enhancing, whole - core],
        CERTAIN - whole,
    )
    doubt: NDArray[np.float32] = (1 - own / CERTAIN).astype(np.float32)
    return doubt


def _middle_of_most(
    doubt: NDArray[np.float32], spacing_mm: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Pixel around which most doubt lies."""
    size = np.maximum(np.rint(NEIGHBOURHOOD_MM / spacing_mm).astype(int), 1)
    around = ndimage.uniform_filter(doubt, size.tolist(), mode="constant")
    pixel: NDArray[np.int64] = np.array(np.unravel_index(around.argmax(), doubt.shape))
    return pixel
