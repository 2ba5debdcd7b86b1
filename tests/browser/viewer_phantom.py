"""Studies for the viewer's browser tests: every voxel has a value of its own neighbourhood."""

import numpy as np

from pages.components.viewer import Comparison
from utils.grid import Grid
from utils.labels import Label, regions_of
from utils.segmentation import CERTAIN, Provenance, Segmentation
from utils.study import Modality, Study
from utils.volume import Volume

SHAPE = (40, 48, 30)
GRIDS = {
    "canonical": np.eye(4),
    "lps": np.array([[-1.0, 0, 0, 20], [0, -1, 0, 24], [0, 0, 1, 0], [0, 0, 0, 1]]),
    "anisotropic": np.diag([1.0, 1.0, 4.0, 1.0]),
    "oblique": np.array(  # stored as sagittal slices (P, S, L), tilted
        [[0.1, 0.0, -1.5, 30], [-0.98, 0.2, -0.1, -20], [0.2, 0.97, 0.1, 5], [0, 0, 0, 1.0]]
    ),
}


def make_study(grid_name: str) -> Study:
    """Make scans with no symmetry at all: a ramp along each axis, mixed anew per modality."""
    grid = Grid(SHAPE, GRIDS[grid_name])
    i, j, k = np.indices(SHAPE)
    ramps = (3 * i + j + 2 * k, i + 3 * j + k, 2 * i + j + 3 * k, i + j + 4 * k)
    scans = {}
    for modality, ramp in zip(Modality, ramps, strict=True):
        values = (100 + 5 * ramp + (i * j + 7 * k) % 11).astype(np.float32)
        scans[modality] = Volume(values, grid)
    return Study(scans)


def make_segmentation(study: Study) -> Segmentation:
    """Make a lopsided tumour: three boxes inside each other, off every centre.

    The network saw no core in the innermost one: it is core because the rim encloses it.
    """
    labels = np.zeros(SHAPE, np.uint8)
    labels[8:26, 10:24, 6:20] = 2
    labels[10:20, 12:22, 8:16] = 4
    labels[12:16, 13:18, 9:12] = 1
    probabilities = (regions_of(labels) * CERTAIN).astype(np.uint8)
    probabilities[labels == Label.NCR_NET, 1] = round(0.04 * CERTAIN)
    provenance = Provenance("test", "0" * 64, "none", 0.0)
    return Segmentation(labels, probabilities, study.grid, provenance)


def make_comparison(study: Study) -> Comparison:
    """Make an earlier mask: the same tumour, two voxels further along the first axis."""
    labels = np.roll(make_segmentation(study).labels, 2, axis=0)
    return Comparison("Earlier mask", labels, study.grid)


def make_earlier_visit(study: Study) -> Comparison:
    """Make the mask and its scan: other values on every voxel, in another scanner's units."""
    mask = make_comparison(study)
    scan = Volume(1000 - 2 * study.scans[Modality.T2].values, study.grid)
    beside = ("Earlier T1ce", scan)
    return Comparison(mask.title, mask.labels, study.grid, beside=beside, opens="differences")
