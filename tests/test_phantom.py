"""The phantom's answers hold, and its images look to a network as real scans do."""

import time
from functools import cache
from math import pi

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from utils.grid import Grid
from utils.labels import Label, Region
from utils.phantom import DEMO_VOLUMES_ML, demo_study, ellipsoid
from utils.study import Modality, Study

HEALTHY_WHITE = (slice(150, 154), slice(125, 140), slice(98, 102))  # left centrum semiovale
"""White matter of the demo head, chosen by eye: no tumour, no ventricle."""


@cache
def demo(seed: int = 0) -> tuple[Study, NDArray[np.uint8]]:
    return demo_study(seed)


def median(modality: Modality, where: NDArray[np.bool_]) -> float:
    return float(np.median(demo()[0].scans[modality].values[where]))


def fluid() -> NDArray[np.bool_]:
    """Where T2 is bright and FLAIR dark: cerebrospinal fluid, and nothing else."""
    study, _ = demo()
    t2, flair = (study.scans[m].values for m in (Modality.T2, Modality.FLAIR))
    brain = t2 > 0
    return brain & (t2 > np.percentile(t2[brain], 95)) & (flair < np.percentile(flair[brain], 5))


def white_matter() -> NDArray[np.bool_]:
    where = np.zeros(demo()[1].shape, bool)
    where[HEALTHY_WHITE] = True
    return where


def grey_matter() -> NDArray[np.bool_]:
    """Brain that T1 shows between fluid and white matter, far from the tumour."""
    t1 = demo()[0].scans[Modality.T1].values
    white = median(Modality.T1, white_matter())
    where = (t1 > 0.65 * white) & (t1 < 0.78 * white)
    where[:125] = False
    return ndimage.binary_erosion(where)


def test_the_demo_is_stored_as_brats_stores_its_cases() -> None:
    study, labels = demo()
    assert study.grid.shape == labels.shape == (240, 240, 155)
    assert study.grid.orientation == "LPS"
    assert study.grid.spacing_mm == (1, 1, 1)
    assert study.grid.affine[:3, 3].tolist() == [0, 239, 0]
    assert labels.dtype == np.uint8


@pytest.mark.parametrize("seed", [0, 1])
def test_the_tumour_has_the_volumes_it_promises_whatever_the_seed(seed: int) -> None:
    study, labels = demo(seed)
    for label, volume_ml in DEMO_VOLUMES_ML.items():
        assert (labels == label).sum() * study.grid.voxel_volume_ml == pytest.approx(volume_ml)
    assert set(np.unique(labels)) == set(Label)


def test_the_promised_volumes_add_up_to_the_regions() -> None:
    _, labels = demo()
    volumes_ml = {region: region.mask(labels).sum() / 1000 for region in Region}
    assert volumes_ml == {Region.WT: 75.0, Region.TC: 29.0, Region.ET: 17.5}


def test_the_rim_encloses_the_necrosis_and_oedema_the_rim() -> None:
    _, labels = demo()
    necrosis = labels == Label.NCR_NET
    around = ndimage.binary_dilation(necrosis) & ~necrosis
    assert (labels[around] == Label.ET).mean() > 0.8
    core = Region.TC.mask(labels)
    around = ndimage.binary_dilation(core) & ~core
    assert (labels[around] == Label.ED).mean() > 0.75


def test_the_tumour_is_mostly_one_piece_inside_the_brain() -> None:
    study, labels = demo()
    pieces, _ = ndimage.label(labels > 0)
    assert np.bincount(pieces[pieces > 0]).max() > 0.98 * (labels > 0).sum()
    assert (study.stack()[labels > 0] > 0).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_core_lies_on_the_patients_right_by_the_affine(seed: int) -> None:
    study, labels = demo(seed)
    brain = study.scans[Modality.T1].values > 0
    x_mm = study.grid.affine[0, 0] * np.arange(240) + study.grid.affine[0, 3]  # grows to the left
    midline = np.average(x_mm, weights=brain.sum(axis=(1, 2)))
    core = Region.TC.mask(labels).any(axis=(1, 2))
    assert (x_mm[core] > midline).all()  # RAS+: x grows towards the right


def test_the_head_is_not_its_own_mirror_image() -> None:
    t1 = demo()[0].scans[Modality.T1].values
    columns = np.flatnonzero((t1 > 0).any(axis=(1, 2)))
    head = t1[columns[0] : columns[-1] + 1] > 0
    assert (head != head[::-1]).sum() > 20_000


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    (study, labels), (again, labels_again) = demo(), demo_study()
    assert study.stack().tobytes() == again.stack().tobytes()
    assert labels.tobytes() == labels_again.tobytes()
    assert (demo(1)[1] != labels).any()


def test_background_is_exactly_zero_and_the_same_in_all_four_scans() -> None:
    values = demo()[0].stack()
    brain = values > 0
    assert (brain == brain[..., :1]).all()
    assert values.min() == 0
    assert 1100 < brain[..., 0].sum() / 1000 < 1600  # mL, an adult's
    assert not brain[[0, -1]].any()
    assert not brain[:, [0, -1]].any()
    assert not brain[:, :, -1].any()


def test_intensities_are_whole_numbers_as_a_scanner_gives() -> None:
    values = demo()[0].stack()
    assert (values == np.rint(values)).all()
    assert values.max() < 2**15


def test_no_brain_voxel_is_cut_off_at_the_edge_of_the_head_box() -> None:
    brain = demo()[0].scans[Modality.T1].values > 0
    for axis in (0, 1):
        profile = brain.sum(axis=tuple({0, 1, 2} - {axis}))
        filled = profile[profile > 0]
        assert max(filled[0], filled[-1]) < 0.05 * filled.max()


def test_t1_shows_white_matter_brightest_then_grey_then_fluid() -> None:
    white, grey, csf = (median(Modality.T1, w()) for w in (white_matter, grey_matter, fluid))
    assert white > grey > csf


def test_t1ce_shows_healthy_tissue_as_t1_does() -> None:
    white, grey, csf = (median(Modality.T1CE, w()) for w in (white_matter, grey_matter, fluid))
    assert white > grey > csf


def test_t2_shows_fluid_brightest_then_grey_then_white_matter() -> None:
    white, grey, csf = (median(Modality.T2, w()) for w in (white_matter, grey_matter, fluid))
    assert csf > grey > white


def test_flair_shows_oedema_brightest_and_fluid_dark() -> None:
    oedema = median(Modality.FLAIR, demo()[1] == Label.ED)
    white, grey, csf = (median(Modality.FLAIR, w()) for w in (white_matter, grey_matter, fluid))
    assert oedema > 1.4 * grey
    assert grey > white > 2 * csf


def test_t2_shows_oedema_and_necrosis_brighter_than_brain() -> None:
    labels = demo()[1]
    grey = median(Modality.T2, grey_matter())
    assert median(Modality.T2, labels == Label.ED) > 1.2 * grey
    assert median(Modality.T2, labels == Label.NCR_NET) > median(Modality.T2, labels == Label.ED)


def test_only_contrast_agent_makes_the_rim_bright() -> None:
    rim = demo()[1] == Label.ET
    assert median(Modality.T1, rim) < median(Modality.T1, white_matter())
    assert median(Modality.T1CE, rim) > 1.5 * median(Modality.T1CE, white_matter())
    assert median(Modality.T1CE, rim) > 2 * median(Modality.T1CE, demo()[1] == Label.NCR_NET)


def test_veins_shine_in_t1ce_alone() -> None:
    study, labels = demo()
    t1, t1ce = (study.scans[m].values for m in (Modality.T1, Modality.T1CE))
    white = median(Modality.T1CE, white_matter())
    veins = (t1ce > 1.5 * white) & (ndimage.binary_dilation(labels > 0, iterations=3) == 0)
    assert 200 < veins.sum() < 20_000
    assert np.median(t1[veins]) < median(Modality.T1, white_matter())


@pytest.mark.parametrize(
    ("modality", "middle"),
    [
        # medians of brain voxels after clipping at percentiles 0.1 and 99.9 and scaling to 0..1:
        # the range seen over 10 BraTS cases of 2018 to 2021
        (Modality.FLAIR, (0.32, 0.68)),
        (Modality.T1, (0.45, 0.70)),
        (Modality.T1CE, (0.17, 0.51)),
        (Modality.T2, (0.21, 0.35)),
    ],
)
def test_scaled_intensities_lie_where_real_cases_have_them(
    modality: Modality, middle: tuple[float, float]
) -> None:
    values = demo()[0].scans[modality].values
    low, centre, high = np.percentile(values[values > 0], [0.1, 50, 99.9])
    assert middle[0] <= (centre - low) / (high - low) <= middle[1]


def test_the_images_blur_borders_that_are_sharp_in_the_truth() -> None:
    study, labels = demo()
    rim = labels == Label.ET
    t1ce = study.scans[Modality.T1CE].values
    outermost = rim & ~ndimage.binary_erosion(rim)
    assert np.median(t1ce[outermost]) < 0.95 * np.median(t1ce[rim & ~outermost])


def test_the_time_it_takes_is_told() -> None:
    began = time.process_time()
    demo_study(2)
    print(f"demo study: {time.process_time() - began:.1f} s of processor time")  # noqa: T201


def test_an_ellipsoid_has_the_volume_of_the_formula(grid: Grid) -> None:
    centre = grid.affine[:3] @ [11.5, 9.5, 8.5, 1]
    radii = (6.0, 5.0, 7.0)
    mask = ellipsoid(grid, tuple(centre), radii)
    expected_ml = 4 / 3 * pi * 6 * 5 * 7 / 1000
    assert mask.sum() * grid.voxel_volume_ml == pytest.approx(expected_ml, rel=0.03)


def test_an_ellipsoid_on_the_unit_grid_holds_the_voxels_counted_by_hand() -> None:
    grid = Grid((7, 7, 7), np.eye(4))
    mask = ellipsoid(grid, (3, 3, 3), (2, 1, 1))
    # along x five voxels; beside the centre one each in +-y and +-z
    assert mask.sum() == 9
    assert mask[1:6, 3, 3].all()
    assert mask[3, [2, 4], 3].all()
    assert mask[3, 3, [2, 4]].all()


def test_an_ellipsoid_is_measured_in_world_millimetres_not_voxels(grid: Grid) -> None:
    centre = grid.affine[:3] @ [11.5, 9.5, 8.5, 1]
    mask = ellipsoid(grid, tuple(centre), (6, 5, 7))
    inside_mm = np.argwhere(mask) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    outside_mm = np.argwhere(~mask) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    reach = [np.linalg.norm((p - centre) / (6, 5, 7), axis=1) for p in (inside_mm, outside_mm)]
    assert reach[0].max() <= 1 < reach[1].min()


def test_an_ellipsoid_without_extent_is_refused() -> None:
    with pytest.raises(ValueError, match="radii must be positive"):
        ellipsoid(Grid((2, 2, 2), np.eye(4)), (0, 0, 0), (1, 0, 1))
