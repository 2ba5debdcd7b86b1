import numpy as np

from model.config import UNetConfig
from model.unet import build_unet


def test_every_voxel_gets_a_probability_of_every_region() -> None:
    tiny = build_unet(UNetConfig(width=2, depth=2))
    probabilities = tiny.predict_on_batch(np.ones((1, 8, 16, 24, 4), np.float32))
    assert probabilities.shape == (1, 8, 16, 24, 3)
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1


def test_the_network_sees_the_same_in_a_patch_as_in_the_head() -> None:
    scans = np.random.default_rng(0).random((1, 56, 56, 56, 4), np.float32)
    tiny = build_unet(UNetConfig(width=4, depth=1))
    whole = tiny.predict_on_batch(scans)[0, 26:30, 26:30, 26:30]
    # 22 voxels are left on either side: one level down sees 17
    patch = tiny.predict_on_batch(scans[:, 4:52, 4:52, 4:52])[0, 22:26, 22:26, 22:26]
    np.testing.assert_allclose(patch, whole, atol=1e-5)
