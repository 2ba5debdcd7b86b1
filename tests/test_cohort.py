"""A cohort of boxes, and the one that the app ships."""

import json
from pathlib import Path

import numpy as np
import pytest

from utils.cohort import PERCENTS, TABLE, VOXEL_MM, Cohort, cohort, measured, table_of
from utils.labels import Label, Region
from utils.postprocess import ENHANCING_ML

LABEL_MAPS = Path(__file__).parents[2] / "shared/data/lesion_cubes/label_maps.npz"
VOXEL_ML = 1.875 * 1.875 * 1.2109375 / 1000


@pytest.fixture(scope="module")
def boxes() -> Cohort:
    """Patient n of 0 to 100 has n slabs of 1024 enhancing voxels; the first has no tumour."""
    maps = np.zeros((101, 128, 128, 128), np.uint8)
    for n in range(101):
        maps[n, :n, :32, :32] = Label.ET
        maps[n, :n, 32:64, :32] = Label.ED
    return measured(maps, "boxes")


def test_volumes_are_in_millilitres_of_the_resized_voxels(boxes: Cohort) -> None:
    assert pytest.approx((1.875, 1.875, 1.2109375)) == VOXEL_MM
    np.testing.assert_allclose(boxes.quantiles_ml[Region.ET], np.arange(101) * 1024 * VOXEL_ML)
    np.testing.assert_allclose(boxes.quantiles_ml[Region.WT], np.arange(101) * 2048 * VOXEL_ML)


@pytest.mark.parametrize(("slabs", "share"), [(0, 0), (0.5, 0.005), (62, 0.62), (100, 1), (500, 1)])
def test_a_volume_is_larger_than_the_share_of_smaller_ones(
    boxes: Cohort, slabs: float, share: float
) -> None:
    assert boxes.share_below(Region.TC, slabs * 1024 * VOXEL_ML) == pytest.approx(share)


def test_a_small_volume_is_larger_than_the_patients_who_have_none() -> None:
    quantiles = np.where(PERCENTS <= 10, 0.0, PERCENTS - 10.0)
    few = Cohort("few", 100, dict.fromkeys(Region, quantiles))
    assert few.share_below(Region.ET, 0.0) == 0
    assert few.share_below(Region.ET, 0.001) == pytest.approx(0.1, abs=0.001)
    assert few.share_below(Region.ET, 45.0) == pytest.approx(0.55)


def test_the_table_reads_as_it_was_written(boxes: Cohort) -> None:
    table = json.loads(table_of(boxes))
    assert table["patients"] == 101
    assert table["quantiles_ml"]["ET"][100] == pytest.approx(102400 * VOXEL_ML, abs=0.01)


def test_the_shipped_cohort_is_whole_and_in_order() -> None:
    shipped = cohort()
    assert (shipped.title, shipped.patients) == ("BraTS 2020", 361)
    for region in Region:
        quantiles = shipped.quantiles_ml[region]
        assert quantiles.shape == PERCENTS.shape
        assert (np.diff(quantiles) >= 0).all()
    whole, core, enhancing = (shipped.quantiles_ml[region] for region in Region)
    assert (whole >= core).all()
    assert (core >= enhancing).all()


def test_most_who_have_as_little_enhancement_as_is_left_out_have_none() -> None:
    enhancing = cohort().quantiles_ml[Region.ET]
    assert enhancing[7] == 0 < enhancing[8]
    assert cohort().share_below(Region.ET, ENHANCING_ML) < 0.1


def test_the_shipped_table_is_what_the_data_give() -> None:
    if not LABEL_MAPS.exists():
        pytest.skip("the cohort's label maps are not beside the repository")
    with np.load(LABEL_MAPS) as archive:
        assert TABLE.read_text(encoding="utf-8") == table_of(
            measured(archive["labels"], "BraTS 2020")
        )
