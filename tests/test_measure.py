"""Volumes and lesions against bodies whose sizes are known on paper."""

import numpy as np
import pytest

from utils.grid import Grid
from utils.labels import Label, Region
from utils.measure import label_volumes_ml, region_volumes_ml

SHEARED = np.array([[1.0, 1, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])  # |det| = 6 mm3


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[:5] = Label.ED  # 500 voxels
    labels[:2, :, :] = Label.NCR_NET  # 200 of them
    labels[0, :, :] = Label.ET  # 100 of those
    return labels


@pytest.mark.parametrize(("affine", "ml"), [(np.eye(4), 0.001), (SHEARED, 0.006)])
def test_volumes_are_voxels_times_the_determinant(
    labels: np.ndarray, affine: np.ndarray, ml: float
) -> None:
    grid = Grid(labels.shape, affine)
    regions = region_volumes_ml(labels, grid)
    assert [regions[r] for r in Region] == pytest.approx([500 * ml, 200 * ml, 100 * ml])
    assert label_volumes_ml(labels, grid) == pytest.approx(
        {Label.NCR_NET: 100 * ml, Label.ED: 300 * ml, Label.ET: 100 * ml}
    )
