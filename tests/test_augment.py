"""Boxes of heads and what is done to them before a network sees them."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from keras import ops
from numpy.typing import NDArray

from model import augment
from model.augment import Cut, Style, cut, samples
from model.dataset import Packed
from tests.test_dataset import CUBE_MM, LIMITS, empty_head, one_cube


def one_sample(
    case: Packed, shape: tuple[int, int, int], rng: np.random.Generator, style: Style
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    images, regions = map(ops.convert_to_numpy, samples([cut(case, shape, rng, style)]))
    return images[0], regions[0]


def packed_head() -> Packed:
    """Intensity tells the label: 255 where tumour core, 100 elsewhere in the brain."""
    images = np.full((40, 48, 40, 4), 100, np.uint8)
    labels = np.zeros((40, 48, 40), np.uint8)
    labels[12:24, 12:24, 12:24] = 4
    images[labels == 4] = 255
    return Packed(images, labels, np.array([[-2.0] * 4, [4.0] * 4]))


@pytest.mark.parametrize(
    "style",
    [Style(), Style(coarsened_share=0.3, mirrored_axes=3)],
    ids=["head", "patch"],
)
@pytest.mark.parametrize(
    "shape", [(24, 24, 24), (64, 64, 64)], ids=["inside", "larger than the head"]
)
def test_augmentation_moves_image_and_truth_together(
    shape: tuple[int, int, int], style: Style
) -> None:
    rng = np.random.default_rng(1)
    overlaps = []
    for _ in range(40):
        images, regions = one_sample(packed_head(), shape, rng, style)
        assert images.shape == (*shape, 4)
        assert regions.shape == (*shape, 3)
        if regions[..., 0].any():
            brightest = images.max(axis=-1) > 0.6 * images.max()
            overlaps.append((brightest & (regions[..., 0] > 0)).sum() / (regions[..., 0] > 0).sum())
    assert np.median(overlaps) > 0.9


def without_accidents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch off every change of a sample that is left to chance."""
    for share in ("TURN_SHARE", "NOISE_SHARE", "BLUR_SHARE", "DROP_SHARE"):
        monkeypatch.setattr(augment, share, 0.0)
    for deviation in ("LOG_GAIN", "BEND", "SHIFT"):
        monkeypatch.setattr(augment, deviation, 0.0)


def test_heads_and_cubes_are_standardised_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    without_accidents(monkeypatch)
    style, rng = Style(mirrored_axes=0), np.random.default_rng(0)
    head, _ = one_sample(empty_head(), (100, 100, 80), rng, style)
    # byte 100 of z-scores from -2 to 4: -2 + 99 / 254 * 6; outside the brain 0
    assert np.unique(head).tolist() == pytest.approx([0, 0.33858], abs=1e-4)
    assert not head[:, :, :8].any()
    cube, regions = one_sample(one_cube().packed(0), CUBE_MM, rng, style)
    # bytes 107 and 170 of z-scores from -4 to 8: 1.0079 and 3.9843
    assert cube[regions[..., 0] == 0] == pytest.approx(1.0079, abs=1e-3)
    assert cube[regions[..., 0] == 1] == pytest.approx(3.9843, abs=1e-3)


def test_a_coarsened_sample_loses_what_the_cubes_cannot_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_accidents(monkeypatch)
    head = empty_head()
    head.images[..., :] = 100
    head.images[::2] = 200  # stripes of 1 mm along an axis that the cubes sample at 1.875 mm
    style = Style(coarsened_share=1.0, mirrored_axes=0)
    coarse, _ = one_sample(head, (100, 100, 80), np.random.default_rng(0), style)
    sharp, _ = one_sample(
        head, (100, 100, 80), np.random.default_rng(0), replace(style, coarsened_share=0.0)
    )
    assert coarse[10:90].std() < 0.6 * sharp[10:90].std()
    assert coarse.mean() == pytest.approx(sharp.mean(), abs=0.05)
    assert coarse.shape == sharp.shape


def test_patches_are_mirrored_along_every_axis_and_heads_from_left_to_right_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_accidents(monkeypatch)
    corner = Packed(np.full((8, 8, 8, 4), 200, np.uint8), np.zeros((8, 8, 8), np.uint8), LIMITS)
    corner.labels[0, 0, 0] = 4
    for axes in (1, 3):
        rng = np.random.default_rng(0)
        style = Style(mirrored_axes=axes)
        drawn = (one_sample(corner, (8, 8, 8), rng, style)[1] for _ in range(60))
        corners = {tuple(np.argwhere(regions[..., 0])[0].tolist()) for regions in drawn}
        assert corners == set(product(*[(0, 7)] * axes, *[(0,)] * (3 - axes)))


HUNDREDTHS = np.outer([0, 0.01, 0], np.ones(4)).astype(np.float32)


def changed(**wishes: Any) -> tuple[NDArray[np.float32], NDArray[np.float32], Cut]:
    """What becomes of a box of noise if nothing but this is done to it."""
    rng = np.random.default_rng(0)
    box = Cut(
        images=rng.integers(1, 256, (6, 6, 4, 4), np.uint8),
        z_powers=HUNDREDTHS,
        labels=rng.choice([0, 1, 2, 4], (6, 6, 4)).astype(np.uint8),
        coarsened=False,
        matrix=None,
        blurred=None,
        noise=None,
    )
    box = replace(box, **wishes)
    images, regions = map(ops.convert_to_numpy, samples([box]))
    return images[0], regions[0], box


def matrix(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


def test_a_quarter_turn_moves_every_voxel_of_scans_and_truth_to_its_place() -> None:
    # what is at (i, j) comes from (j, 5 - i)
    images, regions, box = changed(matrix=matrix([0, 1, 0], [-1, 0, 0], [0, 0, 1]))
    np.testing.assert_allclose(images, np.rot90(box.images / 100), atol=1e-5)
    np.testing.assert_array_equal(regions[..., 0], np.rot90(box.labels) > 0)
    np.testing.assert_array_equal(regions[..., 2], np.rot90(box.labels) == 4)


def test_what_is_done_to_one_of_a_batch_is_done_to_no_other() -> None:
    turned = matrix([0, 1, 0], [-1, 0, 0], [0, 0, 1])
    larger = matrix([0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5])
    *_, box = changed()
    boxes = [
        box,
        replace(box, matrix=turned, blurred=(1, 0.8)),
        replace(box, z_powers=3 * HUNDREDTHS, coarsened=True),
        replace(box, matrix=larger, labels=np.full_like(box.labels, 4)),
        replace(box, blurred=(3, 0.5), images=box.images[::-1]),
    ]
    together = map(ops.convert_to_numpy, samples(boxes))
    alone = zip(*(samples([one]) for one in boxes), strict=True)
    for batch, singles in zip(together, alone, strict=True):
        for sample, single in zip(batch, singles, strict=True):
            np.testing.assert_allclose(sample, ops.convert_to_numpy(single)[0], atol=1e-5)


def test_what_lies_beyond_a_box_is_empty() -> None:
    images, regions, box = changed(matrix=matrix([2, 0, 0], [0, 2, 0], [0, 0, 2]))
    # the centre of 6 voxels is 2.5: the first voxel comes from 2.5 - 2 * 2.5 = -2.5
    assert not images[0].any()
    assert not regions[0].any()
    # the third of six from 1.5, the second of four from 0.5
    expected = box.images[1:3, 1:3, 0:2].mean((0, 1, 2)) / 100
    assert images[2, 2, 1] == pytest.approx(expected, abs=1e-5)


def test_noise_is_as_strong_as_drawn_and_stays_inside_the_brain() -> None:
    scans = np.full((20, 20, 20, 4), 100, np.uint8)
    scans[:5] = 0
    truth = np.zeros((20, 20, 20), np.uint8)
    images, regions, _ = changed(images=scans, labels=truth, noise=(0.3, 0))
    assert not images[:5].any()
    assert images[5:].std() == pytest.approx(0.3, rel=0.05)
    assert images[5:].mean() == pytest.approx(1, abs=0.01)
    assert not regions.any()


def test_each_sample_has_noise_of_its_own() -> None:
    *_, box = changed(noise=(0.3, 1))
    louder = replace(box, noise=(0.6, 2))
    alone = [ops.convert_to_numpy(samples([one])[0])[0] for one in (box, louder)]
    together = ops.convert_to_numpy(samples([box, louder])[0])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    quiet, loud = (one - HUNDREDTHS[1] * box.images for one in together)
    assert loud.std() == pytest.approx(2 * quiet.std(), rel=0.2)
    assert abs(np.corrcoef(quiet.ravel(), loud.ravel())[0, 1]) < 0.2


def test_each_byte_stands_for_what_the_powers_of_its_channel_say() -> None:
    powers = np.array([[0, 0, 0, 1], [0, 0, 2, 0], [0, 3, 1, 0]], np.float32)
    scans = np.array([0, 1, 5], np.uint8).reshape(3, 1, 1, 1).repeat(4, -1)
    images, *_ = changed(images=scans, z_powers=powers, labels=np.zeros((3, 1, 1), np.uint8))
    expected = [[0, 0, 0, 0], [0, 3, 3, 1], [0, 3, 11, 25]]
    np.testing.assert_allclose(images[:, 0, 0], expected, atol=1e-5)


def test_contrast_is_gained_bent_and_shifted(monkeypatch: pytest.MonkeyPatch) -> None:
    without_accidents(monkeypatch)
    for name, size in (("LOG_GAIN", 1.0), ("BEND", 0.1), ("SHIFT", 10.0)):
        with monkeypatch.context() as patch:
            patch.setattr(augment, name, size)
            powers = augment._contrasts(LIMITS, np.random.default_rng(0))
        z = np.array([-2, 0, 4])  # of the bytes 1, 254 / 3 + 1 and 255: LIMITS are -2 and 4
        code = np.array([1, 254 / 3 + 1, 255])
        got = np.polyval(powers[:, 0].astype(float), code)
        match name:
            case "LOG_GAIN":
                assert got == pytest.approx(got[2] / 4 * z, abs=1e-4)
            case "BEND":
                assert got - z == pytest.approx((got[2] - 4) / 16 * z**2, abs=1e-4)
            case "SHIFT":
                assert got - z == pytest.approx(np.full(3, got[1]), abs=1e-4)
        assert np.abs(got - z).max() > 0.01


def test_one_modality_is_blurred() -> None:
    scans = np.zeros((9, 9, 9, 4), np.uint8)
    scans[4, 4, 4] = 100
    images, *_ = changed(images=scans, labels=np.zeros((9, 9, 9), np.uint8), blurred=(2, 1.0))
    np.testing.assert_array_equal(images[..., [0, 1, 3]], scans[..., [0, 1, 3]] / 100)
    assert images[..., 2].sum() == pytest.approx(1, abs=1e-4)
    # a Gaussian of one voxel, cut off after four: 0.399 in the middle along each axis
    assert images[4, 4, 4, 2] == pytest.approx(0.399**3, rel=0.01)
    assert images[4, 4, 5, 2] == pytest.approx(0.399**2 * 0.242, rel=0.01)
