"""Numbers a report needs: volumes, lesions, diameters."""

import numpy as np
from numpy.typing import NDArray

from utils.grid import Grid
from utils.labels import TUMOUR_LABELS, Label, Region

Labels = NDArray[np.uint8]


def region_volumes_ml(labels: Labels, grid: Grid) -> dict[Region, float]:
    """Volume of each BraTS region; (I, J, K) labels on `grid`."""
    return {
        region: int(np.count_nonzero(region.mask(labels))) * grid.voxel_volume_ml
        for region in Region
    }


def label_volumes_ml(labels: Labels, grid: Grid) -> dict[Label, float]:
    """Volume of each tumour label; (I, J, K) labels on `grid`."""
    return {
        label: int(np.count_nonzero(labels == label)) * grid.voxel_volume_ml
        for label in TUMOUR_LABELS
    }
