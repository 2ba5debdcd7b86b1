import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from model import calibrate as calibration
from model.bundle import ModelInfo, read_bundle, save_bundle
from model.calibrate import Doubted, calibrate, left_out
from model.config import TrainConfig, UNetConfig
from model.predict import Network
from model.unet import build_unet
from utils.errors import UserError
from utils.grid import Grid
from utils.labels import Label
from utils.study import Modality, Study
from utils.volume import Volume

TINY = UNetConfig(width=2, depth=1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network on everyone and three folds."""
    unet = build_unet(TINY)
    for place in ("", "fold0", "fold1", "fold2"):
        save_bundle(unet, tmp_path / "model" / place, TINY, TrainConfig(), {})
    return tmp_path / "model"


def said(probability: float, true_share: float) -> Doubted:
    """Thousand voxels that are said to be this probable, and are there that often."""
    stored = np.full((1000, 3), round(probability * 255), np.uint8)
    regions = np.zeros((1000, 3), bool)
    regions[: round(1000 * true_share)] = True
    return Doubted(stored, regions)


def test_a_fold_is_calibrated_by_what_the_others_say_and_the_shipped_network_by_all(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 80 % are log(4) as a logit, two thirds half of it
    said_by = {"fold0": said(0.8, 0.8), "fold1": said(0.8, 0.6), "fold2": said(0.8, 0.6)}
    monkeypatch.setattr(calibration, "left_out", lambda data, fold: [said_by[fold.name]])
    calibrate(Path("data"), model)

    def temperature(folder: Path) -> float:
        (one,) = set(read_bundle(folder).temperatures)
        return one

    def logit(share: float) -> float:
        return float(np.log(share / (1 - share)))

    assert temperature(model / "fold0") == pytest.approx(logit(0.8) / logit(0.6), abs=0.01)
    for fold in ("fold1", "fold2"):  # between 80 and 60 %
        expected = logit(0.8) / logit(0.7)
        assert temperature(model / fold) == pytest.approx(expected, abs=0.01)
    assert temperature(model) == pytest.approx(2, abs=0.01)


def test_one_fold_has_nobody_to_learn_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_bundle(build_unet(TINY), tmp_path / "model" / "fold0", TINY, TrainConfig(), {})
    with pytest.raises(UserError, match="fewer than two folds"):
        calibrate(tmp_path, tmp_path / "model")
    command = ["calibrate", str(tmp_path), "--model", str(tmp_path / "model")]
    monkeypatch.setattr(sys, "argv", command)
    assert calibration.main() == 65
    assert capsys.readouterr().err.count("\n") == 1


def test_a_fold_is_asked_uncalibrated_about_the_patients_it_never_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = Grid((40, 40, 40), np.diag([-1.0, -1, 1, 1]))
    values = np.random.default_rng(0).uniform(10, 20, grid.shape).astype(np.float32)
    truth = np.zeros(grid.shape, np.uint8)
    truth[:20, 0, 0], truth[20:, 0, 0] = Label.ED, Label.ET
    study = Study({m: Volume(values + n, grid) for n, m in enumerate(Modality)})
    asked, loaded = [], []

    def in_doubt_of_one_row(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.zeros((*tensor.shape[:3], 3), np.float32)
        found[:, 0, 0] = [0.8, 0.4, 1]
        return found

    def cases(data: Path, names: list[str]) -> list[SimpleNamespace]:
        asked.append(names)
        return [SimpleNamespace(name="c", read=lambda: (study, truth))]

    def loaded_as(models: list[ModelInfo], unet: UNetConfig, window: object) -> Network:
        loaded.extend(models)
        assert (unet, window) == (TINY, TrainConfig().window)
        return Network(in_doubt_of_one_row, (40, 40, 40), "", "", "by hand")

    parts = {"train": ["a"], "validation": ["b"], "test": ["c"]}
    save_bundle(build_unet(TINY), tmp_path, TINY, TrainConfig(), parts, (2, 3, 4))
    monkeypatch.setattr(calibration, "named_cases", cases)
    monkeypatch.setattr(calibration, "load_model", lambda info: info)
    monkeypatch.setattr(calibration, "as_network", loaded_as)
    (found,) = left_out(tmp_path, tmp_path)
    assert asked == [["c"]]
    assert loaded[0].temperatures == (1, 1, 1)
    np.testing.assert_array_equal(found.stored, [[204, 102, 255]] * 40)
    expected = [[True, False, False]] * 20 + [[True, True, True]] * 20
    np.testing.assert_array_equal(found.regions, expected)
