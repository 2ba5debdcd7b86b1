import numpy as np
import pytest

from model.calibration import doubtful, reckon, temperature, temperatures


def test_the_calibration_error_is_the_one_on_paper() -> None:
    # 4 voxels at .25 of which 1 is true, 6 at .95 of which 3 are: (4 * 0 + 6 * .45) / 10
    probabilities = np.array([0.25] * 4 + [0.95] * 6)
    truth = np.array([True, False, False, False] + [True, False] * 3)
    found = reckon(probabilities, truth)
    assert found.voxels.tolist() == [0, 0, 4, 0, 0, 0, 0, 0, 0, 6]
    assert found.frequency[9] == 0.5
    assert found.error == pytest.approx(0.27)
    assert found.error_in_doubt == 0  # of those at .25 a quarter came true


def test_doubt_is_not_diluted_by_what_is_all_but_certain() -> None:
    # 900 voxels at .02, none true; 100 at .45, all true: .55 where it matters, .073 over all
    probabilities = np.array([0.02] * 900 + [0.45] * 100)
    found = reckon(probabilities, probabilities > 0.4)
    assert found.error == pytest.approx(0.9 * 0.02 + 0.1 * 0.55)
    assert found.error_in_doubt == pytest.approx(0.55)


def test_certain_voxels_do_not_count() -> None:
    stored = np.array([0, 1, 254, 255], np.uint8)
    probabilities, truth = doubtful(stored, np.array([False, True, True, True]))
    assert probabilities.tolist() == [1 / 255, 254 / 255]
    assert truth.tolist() == [True, True]


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_distorted_the_probabilities_is_found(true_temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 40_000)
    truth = rng.random(logits.size) < 1 / (1 + np.exp(-logits))
    distorted = 1 / (1 + np.exp(-logits * true_temperature))
    assert temperature(distorted, truth) == pytest.approx(true_temperature, rel=0.05)


def test_each_region_has_its_own_temperature() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (30, 30, 30, 3))
    truth = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    stored = np.rint(255 / (1 + np.exp(-logits * [1, 2, 0.5]))).astype(np.uint8)
    assert temperatures([stored], [truth]) == pytest.approx((1, 2, 0.5), rel=0.1)


def test_a_region_without_any_doubt_keeps_its_probabilities() -> None:
    stored = np.zeros((2, 2, 2, 3), np.uint8)
    assert temperatures([stored], [stored > 0]) == (1.0, 1.0, 1.0)
