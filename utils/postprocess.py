"""Network output to labels: thresholds, nesting, and the removal of specks."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.grid import Grid
from utils.labels import Label, labels_of
from utils.segmentation import CERTAIN

THRESHOLD = 0.5
SPECK_ML = 0.1  # isolated findings below it were false alarms in every validation case
NEIGHBOURS_26 = np.ones((3, 3, 3), bool)


def labels_from(probabilities: NDArray[np.uint8], grid: Grid) -> NDArray[np.uint8]:
    """Labels of (I, J, K, 3) region probabilities; isolated specks are dropped.

    Probabilities are in units of 1 / `CERTAIN`. A voxel belongs to ET only where it belongs to TC,
    and to TC only where it belongs to WT.
    """
    return without_specks(labels_of(probabilities >= THRESHOLD * CERTAIN), grid)


def without_specks(labels: NDArray[np.uint8], grid: Grid) -> NDArray[np.uint8]:
    """Labels without the 26-connected tumour components smaller than ``SPECK_ML``."""
    components, count = ndimage.label(labels != Label.BACKGROUND, NEIGHBOURS_26)
    if not count:
        return labels
    volumes_ml = np.bincount(components.ravel()) * grid.voxel_volume_ml
    kept = volumes_ml >= SPECK_ML
    return np.where(kept[components], labels, np.uint8(Label.BACKGROUND))
