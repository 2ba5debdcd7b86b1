"""Air is found where it is, whatever number stands for it and however much of it is missing."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.corpus import SHAPE, scan, tissue_map, z_scores
from utils.errors import UnreadableVolumeError
from utils.intensity import repair

BRAIN = tissue_map() > 0
AIR = np.float32(-1.5)


def padding() -> dict[str, NDArray[np.bool_]]:
    """Places without values outside the brain, as a scan has after it was moved into this grid."""
    everywhere = np.zeros(SHAPE, np.bool_)
    corner, slab, rim, turned = (everywhere.copy() for _ in range(4))
    corner[:9, :9, :9] = True
    slab[:3] = True
    rim[:2], rim[-2:], rim[:, :2], rim[:, -2:], rim[..., :1], rim[..., -1:] = (True,) * 6
    i, j, _ = np.indices(SHAPE)
    turned[abs(i - 23.5) + abs(j - 23.5) > 32] = True
    return {"corner": corner, "slab": slab, "rim": rim, "turned": turned}


@pytest.mark.parametrize("missing", padding().values(), ids=padding())
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_lacks_a_value_outside_the_head_is_air_whatever_air_is(
    missing: NDArray[np.bool_], number: float
) -> None:
    assert not (missing & BRAIN).any()
    values = z_scores(scan("t1"))
    expected = np.where(BRAIN, values - AIR, 0)  # air is shifted to 0, and all else with it
    found, notices = repair(np.where(missing, np.float32(number), values), "t1")
    np.testing.assert_array_equal(found, expected)
    assert [n.code for n in notices] == ["not-finite", "air-shifted"]


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_background_without_any_value_is_air(number: float) -> None:
    values = np.where(BRAIN, z_scores(scan("t1")), np.float32(number))
    found, (notice,) = repair(values.copy(), "t1")
    np.testing.assert_array_equal(found, np.where(BRAIN, values, 0))
    assert notice.code == "not-finite"


@pytest.mark.parametrize("air", [0, -1.5])
def test_a_thousandth_of_the_head_may_lack_a_value_and_no_more(air: float) -> None:
    values = np.where(BRAIN, z_scores(scan("t1")), np.float32(air))
    few = int(BRAIN.sum() / 1001)  # of what is left, a thousandth or less
    inside = np.flatnonzero(tissue_map() == 3)[::50]
    values.flat[inside[:few]] = np.nan
    found, _ = repair(values.copy(), "t1")
    assert (found.flat[inside[:few]] == 0).all()
    values.flat[inside[: few + 1]] = np.nan
    with pytest.raises(UnreadableVolumeError, match=f"{few + 1} voxels inside the head have no us"):
        repair(values, "t1")
