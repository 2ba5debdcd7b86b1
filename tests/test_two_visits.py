"""Two visits brought together, without a page around them."""

import numpy as np
import pytest

from utils.burden import burden
from utils.change import Fate
from utils.errors import GridMismatchError
from utils.grid import Grid
from utils.labels import Region
from utils.two_visits import TwoVisits, VisitMask, passage_between
from utils.volume import Volume

SHAPE = (30, 32, 20)
LPS = Grid(SHAPE, np.diag([-1.0, -1.0, 2.0, 1.0]))  # 2 microlitres a voxel
RAS = Grid(SHAPE, np.array([[1.0, 0, 0, -29], [0, 1, 0, -31], [0, 0, 2, 0], [0, 0, 0, 1]]))
ELSEWHERE = Grid(SHAPE, LPS.affine + np.eye(4, k=3))


def mask(grid: Grid, *boxes: tuple[slice, ...], scan: bool = False) -> VisitMask:
    labels = np.zeros(SHAPE, np.uint8)
    for box in boxes:
        labels[box] = 4
    values = np.arange(labels.size, dtype=np.float32).reshape(SHAPE)
    return VisitMask(burden(labels, grid), Volume(values, grid) if scan else None)


def brought_together(earlier: VisitMask, current: VisitMask) -> TwoVisits:
    return TwoVisits(earlier, current, passage_between(earlier, current))


def test_a_mask_stored_in_another_order_is_brought_exactly_over_its_own_place() -> None:
    box = (slice(4, 8), slice(10, 16), slice(5, 10))
    flipped = (slice(22, 26), slice(16, 22), slice(5, 10))  # 30 - 8 and 32 - 16
    visits = brought_together(mask(RAS, flipped, scan=True), mask(LPS, box, scan=True))
    np.testing.assert_array_equal(visits.labels, visits.current.burden.labels)
    (change,) = visits.lesions(Region.WT)
    assert change.fate is Fate.UNCHANGED
    assert change.volume_ml.earlier == pytest.approx(4 * 6 * 5 * 0.002)
    assert visits.earlier_scan is not None
    assert visits.earlier.scan is not None
    assert visits.earlier_scan.values[0, 0, 0] == visits.earlier.scan.values[29, 31, 0]


def test_the_middle_is_that_of_the_lesion_as_it_is_now_or_else_as_it_was() -> None:
    here, gone = (slice(3, 8),) * 3, (slice(20, 25), slice(20, 25), slice(10, 15))
    visits = brought_together(mask(LPS, here, gone), mask(LPS, (slice(3, 10),) * 3))
    grown, vanished = visits.lesions(Region.WT)
    assert visits.middle(Region.WT, grown) == (6, 6, 6)
    assert visits.middle(Region.WT, vanished) == (22, 22, 12)


@pytest.mark.parametrize("missing", ["earlier", "current"])
def test_masks_that_lie_elsewhere_need_both_scans(missing: str) -> None:
    earlier = mask(ELSEWHERE, scan=missing != "earlier")
    with pytest.raises(GridMismatchError, match=f"Add the {missing} T1ce scan"):
        passage_between(earlier, mask(LPS, scan=missing != "current"))


def test_without_a_scan_there_are_no_two_pictures() -> None:
    visits = brought_together(mask(LPS), mask(LPS, scan=True))
    assert (visits.earlier_scan, visits.windowed_scans) == (None, None)
