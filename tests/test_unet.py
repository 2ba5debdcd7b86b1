import numpy as np
import pytest

from model.config import UNetConfig
from model.unet import InstanceNormalization, build_unet


def test_every_voxel_gets_a_probability_of_every_region() -> None:
    tiny = build_unet(UNetConfig(width=2, depth=2))
    probabilities = tiny.predict_on_batch(np.ones((1, 8, 16, 24, 4), np.float32))
    assert probabilities.shape == (1, 8, 16, 24, 3)
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1


def test_a_channel_that_hardly_varies_is_not_blown_up() -> None:
    faint = np.array([0, 0.02] * 4, np.float32).reshape(1, 2, 2, 2, 1)
    two_channels = np.concatenate([faint, 1000 * faint], axis=-1)  # variances 1e-4 and 100
    normal = np.asarray(InstanceNormalization()(two_channels))
    # 0.01 / sqrt(1e-4 + 1e-3) and 10 / sqrt(100 + 1e-3)
    assert abs(normal[..., 0]) == pytest.approx(np.full((1, 2, 2, 2), 0.30151), abs=1e-4)
    assert abs(normal[..., 1]) == pytest.approx(np.full((1, 2, 2, 2), 1), abs=1e-4)


def test_each_head_is_normalised_by_itself() -> None:
    first = np.random.default_rng(0).random((1, 4, 4, 4, 2), np.float32)
    alone, together = (
        np.asarray(InstanceNormalization()(heads))
        for heads in (first, np.concatenate([first, 5 * first + 3]))
    )
    np.testing.assert_allclose(together[0], alone[0], atol=1e-5)


def test_batch_normalisation_sees_the_same_in_a_patch_as_in_the_head() -> None:
    scans = np.random.default_rng(0).random((1, 56, 56, 56, 4), np.float32)
    difference = {}
    for normalisation in ("batch", "instance"):
        tiny = build_unet(UNetConfig(width=4, depth=1, normalisation=normalisation))
        whole = tiny.predict_on_batch(scans)[0, 26:30, 26:30, 26:30]
        # 22 voxels are left on either side: one level down sees 17
        patch = tiny.predict_on_batch(scans[:, 4:52, 4:52, 4:52])[0, 22:26, 22:26, 22:26]
        difference[normalisation] = np.abs(whole - patch).max()
    assert difference["batch"] < 1e-5
    assert difference["instance"] > 1e-4


def test_an_unknown_normalisation_is_refused() -> None:
    with pytest.raises(ValueError, match="normalisation is 'bach'"):
        build_unet(UNetConfig(normalisation="bach"))
