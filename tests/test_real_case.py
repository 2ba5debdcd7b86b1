"""The network on a real patient whom its training never saw. Skips where the cases are absent."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.bundle import read_bundle
from model.dataset import find_cases
from model.evaluate import folds_of
from model.predict import DEFAULT_MODEL, load_network, segment
from utils.intake import read_study_folder
from utils.labels import Region
from utils.metrics import score

CASE = "BraTS2021_00006"
ARCHIVES = Path(__file__).parents[2] / "shared" / "data"
FLOOR = {Region.WT: 0.8, Region.TC: 0.6}
"""Dice that a usual case surpasses clearly; below it something is broken, not unlucky."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ARCHIVES / "unpack.py").exists():
        pytest.skip("no real cases beside the repository")
    folder = tmp_path_factory.mktemp("real")
    subprocess.run([sys.executable, ARCHIVES / "unpack.py", folder, CASE], check=True)
    return folder


def test_an_unseen_patient_is_segmented_well_on_his_own_grid(data: Path) -> None:
    (model,) = [f for f in folds_of(DEFAULT_MODEL) if CASE in read_bundle(f).cases["test"]]
    (case,) = find_cases(data)
    study, truth = case.read()
    intake = read_study_folder(data / "brats" / CASE)
    assert not [n for n in intake.notices if n.consent]
    segmentation = segment(intake.study, load_network(model), intake.notices)
    assert segmentation.grid.displacement_mm(study.grid) == 0
    scores = score(segmentation.labels, truth, study.grid)
    for region, floor in FLOOR.items():
        assert scores[region].dice > floor, f"{region.name}: {scores[region].dice:.3f}"
    assert set(np.unique(segmentation.labels).tolist()) <= {0, 1, 2, 4}
