"""Lesions of one patient in the head of another: where, how bright, and labelled as they are."""

import numpy as np
import pytest

from model.transplant import pasted
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
