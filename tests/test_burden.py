import numpy as np
import pytest

from utils.burden import burden
from utils.grid import Grid
from utils.labels import Label, Region

GRID = Grid((60, 60, 40), np.eye(4))


@pytest.fixture
def labels() -> np.ndarray:
    """One oedema with two enhancing foci, and one small core without oedema."""
    labels = np.zeros(GRID.shape, np.uint8)
    labels[2:40, 2:30, 5:25] = Label.ED
    labels[4:16, 4:24, 8:20] = Label.ET  # 12 x 20 mm
    labels[20:35, 4:16, 10:16] = Label.ET  # 15 x 12 mm
    labels[50:55, 50:58, 30:36] = Label.ET  # 5 x 8 mm: too small for RANO
    return labels


def test_every_focus_is_listed_under_its_own_lesion(labels: np.ndarray) -> None:
    found = burden(labels, GRID)
    large, small = found.lesions
    assert [focus.voxels for focus in found.foci_in(large)] == [12 * 20 * 12, 15 * 12 * 6]
    assert [focus.voxels for focus in found.foci_in(small)] == [5 * 8 * 6]


def test_the_sum_counts_the_measurable_foci_of_a_shared_oedema_one_by_one(
    labels: np.ndarray,
) -> None:
    found = burden(labels, GRID)
    assert [focus.voxels for focus in found.measurable] == [12 * 20 * 12, 15 * 12 * 6]
    for focus, (a, b) in zip(found.measurable, [(12, 20), (15, 12)], strict=True):
        assert focus.diameters is not None
        assert focus.diameters.longest_mm == pytest.approx(np.hypot(a, b), abs=1.5)
    products = [focus.diameters.product_mm2 for focus in found.measurable if focus.diameters]
    assert found.product_sum_mm2 == pytest.approx(sum(products))


def test_a_head_without_tumour_has_no_burden() -> None:
    found = burden(np.zeros(GRID.shape, np.uint8), GRID)
    assert (found.lesions, found.foci, found.product_sum_mm2) == ((), (), 0)


def test_oedema_alone_is_a_lesion_without_focus() -> None:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[5:15, 5:15, 5:15] = Label.ED
    (lesion,) = burden(labels, GRID, midline_mm=30.0).lesions
    assert lesion.volumes_ml[Region.WT] == pytest.approx(1.0)
    assert burden(labels, GRID).foci_in(lesion) == ()
