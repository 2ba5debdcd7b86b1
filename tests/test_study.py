import numpy as np
import pytest

from utils.errors import GridMismatchError, MissingModalityError
from utils.grid import Grid
from utils.study import Modality, Study
from utils.volume import Volume


def test_a_missing_scan_is_named(study: Study) -> None:
    scans = {m: v for m, v in study.scans.items() if m is not Modality.T2}
    with pytest.raises(MissingModalityError, match="lacks T2"):
        Study(scans)


def test_a_misaligned_scan_is_named_with_its_shift(study: Study) -> None:
    affine = study.grid.affine.copy()
    affine[2, 3] += 7
    moved = Volume(study.scans[Modality.T1].values, Grid(study.grid.shape, affine))
    with pytest.raises(GridMismatchError, match=r"T1 is not aligned .* 7\.0 mm"):
        Study({**study.scans, Modality.T1: moved})


def test_channels_follow_the_modalities_not_the_order_of_upload(grid: Grid) -> None:
    scans = {
        m: Volume(np.full(grid.shape, float(c), np.float32), grid) for c, m in enumerate(Modality)
    }
    reversed_upload = dict(reversed(scans.items()))
    assert Study(reversed_upload).stack()[0, 0, 0].tolist() == [0, 1, 2, 3]


def test_voxels_cannot_be_changed(study: Study) -> None:
    with pytest.raises(ValueError, match="read-only"):
        study.scans[Modality.T1].values[0, 0, 0] = 1
