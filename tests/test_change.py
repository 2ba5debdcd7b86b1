"""Changes between visits; every expected number is counted on paper."""

import numpy as np
import pytest
from numpy.typing import NDArray

from utils.burden import burden
from utils.change import (
    Change,
    Fate,
    LesionChange,
    RanoSums,
    lesion_numbers,
    matched_lesions,
    middle_of_lesion,
    region_changes,
)
from utils.grid import Grid
from utils.labels import Region
from utils.phantom import ellipsoid

SHAPE = (40, 40, 30)
GRID = Grid(SHAPE, np.diag([1.0, 1.0, 2.0, 1.0]))  # 2 mm3 a voxel


def boxes(*corners: tuple[int, int, int], side: int = 5) -> NDArray[np.uint8]:
    labels = np.zeros(SHAPE, np.uint8)
    for i, j, k in corners:
        labels[i : i + side, j : j + side, k : k + side] = 4
    return labels


def matched(earlier: NDArray[np.uint8], current: NDArray[np.uint8]) -> tuple[LesionChange, ...]:
    numbers, sizes = lesion_numbers(earlier, Region.WT)
    now, _ = lesion_numbers(current, Region.WT)
    volumes_ml = [n * GRID.voxel_volume_ml for n in sizes]
    return matched_lesions(numbers, now, volumes_ml, GRID.voxel_volume_ml)


def test_a_change_is_current_minus_earlier_and_percent_of_the_earlier() -> None:
    assert Change(8.0, 10.0).difference == 2.0
    assert Change(8.0, 10.0).percent == 25.0
    assert Change(8.0, 2.0).percent == -75.0
    assert Change(8.0, 0.0).percent == -100.0


def test_from_nothing_there_is_no_percentage() -> None:
    assert Change(0.0, 5.0).percent is None
    assert Change(0.0, 0.0).percent is None


def test_volumes_are_compared_in_ml_although_the_voxels_differ() -> None:
    fine = Grid((40, 40, 30), np.diag([0.5, 0.5, 0.5, 1.0]))
    earlier, current = np.zeros(SHAPE, np.uint8), boxes((5, 5, 5), side=10)
    earlier[:20, :20, :20] = 4  # 8000 voxels of 0.125 mm3: 1 mL
    found = region_changes(burden(earlier, fine), burden(current, GRID))
    assert found[Region.ET].earlier == pytest.approx(1.0)
    assert found[Region.ET].current == pytest.approx(2.0)  # 1000 voxels of 2 mm3
    assert found[Region.ET].percent == pytest.approx(100.0)


def test_a_ball_that_grows_by_known_radii_grows_by_the_formula() -> None:
    grid = Grid((60, 60, 60), np.eye(4))
    balls = [
        np.where(ellipsoid(grid, (30, 30, 30), (r, r, r)), 4, 0).astype(np.uint8) for r in (12, 15)
    ]
    change = region_changes(*(burden(b, grid) for b in balls))[Region.ET]
    paper_ml = 4 / 3 * np.pi * (15**3 - 12**3) / 1000
    assert change.difference == pytest.approx(paper_ml, rel=0.02)  # voxels are no ball


def test_grown_shrunk_new_vanished_and_unchanged_lesions_are_told_apart() -> None:
    earlier = boxes((2, 2, 2), (2, 20, 2), (20, 2, 2), (30, 30, 20))
    current = boxes((2, 2, 2), (20, 20, 20)) | boxes((2, 20, 2), side=7) | boxes((20, 2, 2), side=4)
    found = {c.fate: c for c in matched(earlier, current)}
    assert set(found) == set(Fate)
    assert found[Fate.GROWN].volume_ml == Change(pytest.approx(0.25), pytest.approx(2 * 343 / 1000))
    assert found[Fate.SHRUNK].volume_ml.current == pytest.approx(2 * 64 / 1000)
    assert found[Fate.VANISHED].current == ()
    assert found[Fate.VANISHED].volume_ml.percent == -100.0
    assert found[Fate.NEW].earlier == ()
    assert found[Fate.UNCHANGED].volume_ml.difference == 0.0


def test_each_lesion_of_either_visit_is_counted_once_largest_first() -> None:
    earlier = boxes((2, 2, 2), (30, 30, 20))
    current = boxes((2, 2, 2), (20, 20, 20)) | boxes((2, 20, 2), side=7)
    found = matched(earlier, current)
    assert sorted(n for c in found for n in c.earlier) == [1, 2]
    assert sorted(n for c in found for n in c.current) == [1, 2, 3]
    assert [c.volume_ml.current for c in found] == sorted(
        (c.volume_ml.current for c in found), reverse=True
    )


def test_two_lesions_that_grow_together_have_merged_and_the_reverse_has_split() -> None:
    apart, together = boxes((2, 2, 2), (9, 2, 2)), boxes((2, 2, 2), (7, 2, 2), (9, 2, 2))
    (merged,) = matched(apart, together)
    assert merged.joined == "2 merged"
    assert merged.fate is Fate.GROWN
    assert merged.volume_ml.earlier == pytest.approx(0.5)
    (split,) = matched(together, apart)
    assert split.joined == "split into 2"
    assert split.fate is Fate.SHRUNK


def test_lesions_that_do_not_touch_are_strangers() -> None:
    found = matched(boxes((2, 2, 2)), boxes((7, 2, 2)))
    assert {c.fate for c in found} == {Fate.NEW, Fate.VANISHED}


def test_without_any_lesion_there_is_nothing_to_match() -> None:
    assert matched(boxes(), boxes()) == ()
    (new,) = matched(boxes(), boxes((2, 2, 2)))
    assert new.fate is Fate.NEW


def test_the_middle_of_a_lesion_lies_in_it() -> None:
    numbers, _ = lesion_numbers(boxes((2, 2, 2)) | boxes((20, 20, 10), side=7), Region.WT)
    assert middle_of_lesion(numbers, 1) == (23, 23, 13)
    assert middle_of_lesion(numbers, 2) == (4, 4, 4)


@pytest.mark.parametrize(
    ("earlier", "now", "less", "more"),
    [
        ((400.0,), 200.0, True, False),  # exactly half
        ((400.0,), 201.0, False, False),
        ((400.0,), 500.0, False, True),  # exactly a quarter more
        ((400.0,), 499.0, False, False),
        ((400.0, 100.0), 130.0, True, True),  # a response that is being lost: both are true
        ((400.0, 600.0), 510.0, False, True),  # the nadir is the baseline, not the last visit
        ((0.0,), 150.0, False, True),
        ((0.0,), 0.0, False, False),
    ],
)
def test_the_arithmetic_of_rano(
    earlier: tuple[float, ...], now: float, less: bool, more: bool
) -> None:
    sums = RanoSums(earlier, now)
    assert sums.half_of_baseline_or_less is less
    assert sums.quarter_above_nadir_or_more is more


def test_baseline_is_the_first_visit_and_nadir_the_smallest_before_now() -> None:
    sums = RanoSums((400.0, 100.0, 300.0), 50.0)
    assert sums.baseline == Change(400.0, 50.0)
    assert sums.nadir == Change(100.0, 50.0)


def test_a_change_needs_an_earlier_visit() -> None:
    with pytest.raises(ValueError, match="earlier"):
        RanoSums((), 1.0)


def test_the_product_sum_of_a_box_is_its_sides_multiplied() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[5:25, 5:17, 10:14] = 4  # 20 x 12 mm in the axial plane
    found = burden(labels, GRID)
    # the outline cuts corners half-way between voxels: a little less than the diagonal
    assert 20 * 12 * 0.9 < found.product_sum_mm2 < np.hypot(20, 12) * 2 * 12
