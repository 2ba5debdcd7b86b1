import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from model.bundle import (
    CONFIG,
    METRICS,
    WEIGHTS,
    fill_weights,
    joint_sha256,
    load_model,
    read_bundle,
    read_members,
    require_measured,
    save_bundle,
    set_temperatures,
)
from model.config import TrainConfig, UNetConfig
from model.predict import DEFAULT_MODEL, load_network
from model.unet import LOGITS, build_unet
from utils.errors import ModelError

TINY = UNetConfig(width=2, depth=2)
CASES = {"train": ["a"], "validation": ["b"], "test": ["c"]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_bundle(build_unet(TINY), folder, TINY, TrainConfig(), CASES)
    return folder


@pytest.fixture
def bundle(trained: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "tiny"
    copy.mkdir()
    for file in trained.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def test_a_saved_model_predicts_the_same_after_loading(bundle: Path) -> None:
    scans = np.random.default_rng(0).random((1, 16, 16, 16, 4), np.float32)
    first, again = (load_model(read_bundle(bundle)).predict_on_batch(scans) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_temperatures_divide_the_logits_and_leave_the_mask_alone(
    trained: Path, tmp_path: Path
) -> None:
    def logits(probabilities: np.ndarray) -> np.ndarray:
        return np.log(probabilities) - np.log1p(-probabilities)

    plain = load_model(read_bundle(trained))
    last = plain.get_layer(LOGITS)
    last.set_weights([last.get_weights()[0], np.array([-2, 1, 3], np.float32)])  # divided as well
    save_bundle(plain, tmp_path / "hot", TINY, TrainConfig(), CASES, (2, 1, 0.5))
    hot = load_model(read_bundle(tmp_path / "hot"))
    scans = np.random.default_rng(0).random((1, 16, 16, 16, 4), np.float32)
    before, after = (logits(model.predict_on_batch(scans)) for model in (plain, hot))
    np.testing.assert_allclose(after, before / [2, 1, 0.5], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(after > 0, before > 0)


def test_a_layer_that_keras_only_warns_of_is_refused() -> None:
    class Unfilled:
        def load_weights(self, file: Path) -> None:
            warnings.warn("A total of 1 objects could not be loaded.", UserWarning, stacklevel=1)

    with pytest.raises(UserWarning, match="could not be loaded"):
        fill_weights(Unfilled(), Path("any.weights.h5"))


def test_weights_that_leave_a_layer_untrained_are_refused(trained: Path) -> None:
    deeper = replace(read_bundle(trained), unet=replace(TINY, depth=3))
    with pytest.raises((ValueError, UserWarning)):
        load_model(deeper)


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(bundle: Path, file: str) -> None:
    (bundle / file).unlink()
    with pytest.raises(ModelError, match=file):
        read_bundle(bundle)


def test_one_altered_byte_of_the_weights_stops_the_start(bundle: Path) -> None:
    weights = bytearray((bundle / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (bundle / WEIGHTS).write_bytes(weights)
    with pytest.raises(ModelError, match="other weights"):
        read_bundle(bundle)


def test_a_model_trained_on_otherwise_prepared_scans_is_refused(bundle: Path) -> None:
    config = json.loads((bundle / CONFIG).read_text())
    config["preprocess"]["upper_percentile"] = 100
    (bundle / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ModelError, match="prepared differently"):
        read_bundle(bundle)


def test_a_misspelt_setting_is_refused(bundle: Path) -> None:
    config = json.loads((bundle / CONFIG).read_text())
    config["unet"]["widht"] = 8
    (bundle / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ModelError, match="widht"):
        read_bundle(bundle)


def with_other_figures(model: Path) -> None:
    metrics = json.loads((model / METRICS).read_text())
    metrics["weights_sha256"] = "0" * 64
    (model / METRICS).write_text(json.dumps(metrics))


@pytest.mark.parametrize(
    "changed",
    [
        with_other_figures,
        lambda model: shutil.rmtree(model / "fold4"),
        lambda model: set_temperatures(model / "fold2", (1, 1, 1)),
    ],
    ids=["figures of other weights", "a fold is missing", "other temperatures"],
)
def test_a_model_is_started_only_as_it_was_measured(
    tmp_path: Path, changed: Callable[[Path], None]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(DEFAULT_MODEL, model)
    require_measured(model, read_members(model))
    changed(model)
    with pytest.raises(ModelError, match=r"other weights or temperatures than metrics\.json"):
        load_network(model)


def test_folds_belong_to_the_model_they_lie_in(trained: Path, tmp_path: Path) -> None:
    for name in ("", "fold1", "fold0", "other"):
        shutil.copytree(trained, tmp_path / "model" / name)
    assert [info.name for info in read_members(tmp_path / "model")] == ["model", "fold0", "fold1"]
    (tmp_path / "model" / "fold1" / WEIGHTS).write_bytes(b"other")
    with pytest.raises(ModelError, match="fold1 holds other weights"):
        read_members(tmp_path / "model")


def test_the_hash_of_one_network_is_that_of_its_file(trained: Path) -> None:
    digest = sha256((trained / WEIGHTS).read_bytes()).hexdigest()
    assert joint_sha256([read_bundle(trained)]) == digest


def test_other_temperatures_leave_everything_else(bundle: Path) -> None:
    before = read_bundle(bundle)
    set_temperatures(bundle, (2, 1, 0.5))
    assert read_bundle(bundle) == replace(before, temperatures=(2, 1, 0.5))


def test_the_shipped_model_is_whole() -> None:
    info = read_bundle(DEFAULT_MODEL)
    assert not set(info.cases["train"]) & set(info.cases["test"])
    assert not set(info.cases["validation"]) & set(info.cases["test"])
