"""Lesions of one patient in the head of another: where, how bright, and labelled as they are."""

from dataclasses import replace

import numpy as np
import pytest

from model.dataset import Cubes, Tumour
from model.transplant import _mirrored, painted, pasted
from tests.test_dataset import empty_head, one_cube


def test_a_pasted_lesion_takes_on_the_heads_intensities_and_fades_into_it() -> None:
    head = empty_head()
    found = pasted(head, one_cube(), np.random.default_rng(3))
    assert (found.labels == 4).sum() >= 20 * 20 * 13  # one to three copies
    # z = 4 is the head's 1, z = 1 its one half: packed 255 and 128
    assert found.images[found.labels == 4].min() >= 254
    assert np.bincount(found.images[found.labels == 0].ravel()).nonzero()[0].tolist()[:2] == [
        0,
        100,
    ]
    assert (found.images == 128).any()
    assert not found.images[:, :, :8].any()
    assert not head.labels.any()  # the packed head itself is as it was


def test_lesions_are_pasted_about_where_they_grew_on_either_side() -> None:
    seeds = range(40)
    heads = [pasted(empty_head(), one_cube((14, 0, 0)), np.random.default_rng(s)) for s in seeds]
    lone = [where for h in heads if len(where := np.argwhere(h.labels == 4)) == 20 * 20 * 13]
    offsets = np.array([where.mean(0) for where in lone]) - (49.5, 49.5, 39.5)
    # 14 mm to either side of the middle, give or take 5
    assert np.abs(offsets[:, 0]).mean() == pytest.approx(14, abs=4)
    assert np.unique(np.sign(offsets[:, 0])).tolist() == [-1, 1]
    assert np.abs(offsets[:, 1:].mean()) < 3


def test_a_painted_tumour_has_the_shape_of_its_label_map_and_the_levels_of_its_cube() -> None:
    head = empty_head()
    found = painted(head, one_cube(), np.random.default_rng(0))
    # 16 x 16 x 24 voxels of 1.875 x 1.875 x 1.21 mm; the cube shows 20 x 20 x 13 mm of it
    where = np.argwhere(found.labels == 4)
    assert len(where) == pytest.approx(30 * 30 * 29, rel=0.05)
    assert (np.ptp(where, axis=0) + 1).tolist() == pytest.approx([30, 30, 29], abs=1)
    inner = tuple(slice(a + 4, b - 3) for a, b in zip(where.min(0), where.max(0), strict=True))
    assert found.images[inner].min() >= 254  # z = 4, the head's 1, where the cube shows it or not
    beside = found.images[where[:, 0].min() - 1, where[:, 1].mean().astype(int)]
    assert 100 < beside.max() < 254  # it has no hard edge
    far = np.argwhere((found.images != head.images).any(-1))
    assert (far.min(0) >= where.min(0) - 5).all()
    assert (far.max(0) <= where.max(0) + 5).all()
    assert not found.images[:, :, :8].any()
    assert not head.labels.any()


def test_no_tumour_is_painted_beyond_the_brain() -> None:
    low = empty_head()  # its brain begins 32 mm below the middle
    found = painted(low, one_cube((0, 0, -30)), np.random.default_rng(0))
    assert (found.labels == 4).any()
    assert not found.labels[:, :, :8].any()
    assert not found.images[:, :, :8].any()


def test_a_mirrored_tumour_is_mirrored_with_its_labels() -> None:
    one = one_cube()
    images, labels = one.images.copy(), one.labels.copy()
    labels[0, 20:30, 20:40, 13:26] = 2
    images[labels == 2] = 150  # z-scores of 3.04 and 3.98: 214 and 254 of the head
    whole = np.pad(np.full((16, 16, 24), 4, np.uint8), 2)
    whole[:10][whole[:10] == 4] = 2
    tumour = replace(one.tumours[0], coarse=whole)
    halves = Cubes(images, labels, one.centres_mm, (tumour,))
    sides = set()
    for seed in range(8):
        found = painted(empty_head(), halves, np.random.default_rng(seed))
        oedema, core = (np.argwhere(found.labels == label).mean(0)[0] for label in (2, 4))
        sides.add(bool(oedema < core))
        for label, level in ((2, 214), (4, 254)):
            values = found.images[found.labels == label]
            assert np.median(values) == pytest.approx(level, abs=1)
    assert sides == {True, False}


def test_what_a_cube_does_not_show_is_not_invented() -> None:
    one = one_cube()
    core = Tumour(np.full((16, 16, 24), 1, np.uint8), np.zeros(3), np.zeros(3, int))
    unknown = Cubes(one.images, one.labels, one.centres_mm, (core,))
    found = painted(empty_head(), unknown, np.random.default_rng(0))
    assert set(np.unique(found.labels)) == {0, 4}  # the cube is pasted instead


def test_a_cube_goes_on_as_its_mirror_image() -> None:
    assert _mirrored(9, 2, 3).tolist() == [1, 0, 0, 1, 2, 2, 1, 0, 0]
    assert _mirrored(3, -1, 4).tolist() == [1, 2, 3]


def test_the_texture_of_a_painted_tumour_is_that_of_its_patient() -> None:
    one = one_cube()
    images = one.images.copy()
    images[:, ::2][one.labels[:, ::2] == 4] = 150
    striped = Cubes(images, one.labels, one.centres_mm, one.tumours)
    found = painted(empty_head(), striped, np.random.default_rng(0))
    i, j, k = np.argwhere(found.labels == 4).mean(0).astype(int)
    line = found.images[i - 6 : i + 6, j, k, 0].reshape(6, 2)
    # bytes 150 and 170 are z-scores of 3.04 and 3.98; the head's reach from -2 to 4
    assert sorted(line[0].tolist()) == pytest.approx([214, 254], abs=1)
    assert (line == line[0]).all()
