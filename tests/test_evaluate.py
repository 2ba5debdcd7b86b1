import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from model import evaluate as evaluation
from model.bundle import (
    METRICS,
    ModelInfo,
    folds_of,
    joint_sha256,
    papers,
    read_bundle,
    read_members,
    save_bundle,
)
from model.card import CARD, DICE_PLOT, write_card
from model.config import TrainConfig, UNetConfig
from model.dataset import Cubes, find_cases
from model.evaluate import (
    averaged,
    evaluate,
    evaluate_patches,
    input_check,
    pooled,
    summary,
    without,
)
from model.predict import DEFAULT_MODEL, Network
from model.unet import build_unet
from utils.errors import ModelError
from utils.study import Modality

FIRST, SECOND = "BraTS20_Training_001", "BraTS20_Training_002"


def network(run) -> Network:
    return Network(
        run, window=(48, 56, 40), model_id="fake", weights_sha256="0" * 64, runtime="by hand"
    )


def nothing_found(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.zeros((*tensor.shape[:3], 3), np.float32)


def bright_is_enhancing(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    bright = tensor.mean(axis=-1, keepdims=True) > 0.9
    return np.repeat(bright, 3, axis=-1).astype(np.float32)


def write_case(folder: Path) -> None:
    folder.mkdir(parents=True)
    brain = np.zeros((40, 40, 40), np.int16)
    brain[4:36, 4:36, 4:36] = np.random.default_rng(0).integers(60, 120, (32, 32, 32))
    truth = np.zeros(brain.shape, np.uint8)
    truth[10:20, 10:20, 10:20] = 4
    brain[truth == 4] = 250
    for suffix in ("flair", "t1", "t1ce", "t2"):
        image = nib.Nifti1Image(brain, np.diag([-1.0, -1, 1, 1]))
        nib.save(image, folder / f"{folder.name}_{suffix}.nii.gz")
    nib.save(
        nib.Nifti1Image(truth, np.diag([-1.0, -1, 1, 1])), folder / f"{folder.name}_seg.nii.gz"
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One patient whose tumour, 1 mL, is wholly enhancing and bright."""
    write_case(tmp_path / FIRST)
    return tmp_path


def test_a_network_that_finds_nothing_scores_zero_however_accurate_its_pixels(data: Path) -> None:
    metrics = pooled(evaluate(find_cases(data), network(nothing_found)), {})
    assert [metrics["summary"][r]["dice"]["mean"] for r in ("WT", "TC", "ET")] == [0, 0, 0]
    assert metrics["summary"]["ET"]["volume_error_ml"]["mean"] == pytest.approx(-1)
    # 1000 of 64,000 voxels are tumour, all of one label; the other two are rightly absent
    expected = {"pixel_accuracy": 1 - 1 / 64, "four_class_dice": (2 * 63 / 127 + 1 + 1 + 0) / 4}
    for key, score in expected.items():
        assert metrics["naive"][key] == pytest.approx(score)


def test_a_network_that_finds_it_all_scores_one(data: Path) -> None:
    metrics = pooled(evaluate(find_cases(data), network(bright_is_enhancing)), {})
    assert [metrics["summary"][r]["dice"]["mean"] for r in ("WT", "TC", "ET")] == [1, 1, 1]
    assert metrics["summary"]["WT"]["hd95_mm"]["mean"] == 0
    assert metrics["naive"]["pixel_accuracy"] == 1
    assert metrics["naive_empty"]["pixel_accuracy"] == pytest.approx(1 - 1 / 64)


def test_the_summary_is_the_one_on_paper() -> None:
    found = summary([0, 0, 1, 1])
    assert (found["mean"], found["median"], found["q1"], found["q3"]) == (0.5, 0.5, 0, 1)
    assert found["low"] == 0  # 1 of 16 resamples has no 1 at all: more than 2.5 %
    assert found["high"] == 1


def test_the_card_tells_the_figures_of_the_metrics_file(data: Path, tmp_path: Path) -> None:
    tiny = UNetConfig(width=2, depth=1)
    cases = {"train": ["a", "b"], "validation": ["c"], "test": [FIRST]}
    folder = tmp_path / "tiny"
    save_bundle(build_unet(tiny), folder, tiny, TrainConfig(), cases)
    scores = evaluate(find_cases(data), network(nothing_found))
    metrics = {
        "weights_sha256": "0" * 64,
        "temperatures": [],
        "measured": {"tiny": "0" * 64},
        "without": {},
    }
    metrics["input_check"] = {"studies": 9, "stopped": 2, "swaps": 42, "noticed": 41}
    metrics |= pooled(scores, {"c": scores[FIRST]})
    (folder / METRICS).write_text(json.dumps(metrics))
    with pytest.raises(ModelError, match="other weights"):
        write_card(folder)
    metrics |= papers(read_members(folder))
    (folder / METRICS).write_text(json.dumps(metrics))
    write_card(folder)
    card = (folder / CARD).read_text()
    assert "| Dice | **0.000** [0.000, 0.000]" in card
    assert "| BraTS20_Training_001 | 0.000 | 0.000 | 0.000 | 0.0 (truth 1.0)" in card
    # 1000 of 64,000 voxels: these masks are as empty as the one beside them
    assert "| Voxel accuracy | 0.9844 | 0.9844 | 0.9864 |" in card
    assert "enhancing tumour of a test patient has 1.0 mL (found: 0.0 mL, Dice 0.00)" in card
    assert "asks about 2 of the 9 labelled studies" in card
    assert "41 of 42" in card
    assert (folder / DICE_PLOT).exists()


def half_sure(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sure of half of the tumour (1 mL in all), in doubt (60 %) of the other half."""
    bright = bright_is_enhancing(tensor)
    first = int(np.flatnonzero(bright.any(axis=(0, 2, 3)))[0])
    bright[:, : first + 5] *= np.float32(0.6)
    return bright


def test_doubt_is_measured(data: Path) -> None:
    scores = evaluate(find_cases(data), network(half_sure))
    bins = scores[FIRST]["regions"]["WT"]["bins"]
    assert sum(bins["voxels"]) == 500
    # all doubted voxels are tumour, said to be so with 60 %
    calibration = pooled(scores, {})["calibration"]["WT"]
    assert calibration["error"] == pytest.approx(0.4, abs=0.005)
    assert calibration["frequency"][6] == 1
    # of 1 mL half is sure, and 1 mL is added to both
    assert scores[FIRST]["regions"]["WT"]["spread"] == pytest.approx(np.log(2 / 1.5), abs=1e-4)


def test_a_blinded_network_sees_nothing_of_one_scan() -> None:
    seen = []

    def look(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(tensor.max(axis=(0, 1, 2)).tolist())
        return nothing_found(tensor)

    scans = np.ones((4, 4, 4, 4), np.float32)
    without(network(look), Modality.T1CE).run(scans)
    mirrored = without(replace(network(nothing_found), mirrored=look), Modality.FLAIR).mirrored
    assert mirrored is not None
    mirrored(scans)
    assert seen == [[1, 1, 0, 1], [0, 1, 1, 1]]  # FLAIR, T1, T1ce, T2


def test_each_fold_is_measured_on_its_own_patients_with_every_scan_and_without_each(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_case(data / SECOND)
    tiny = UNetConfig(width=2, depth=1)
    folder, unet = tmp_path / "model", build_unet(tiny)
    parts = {"train": [], "validation": [SECOND], "test": [FIRST]}
    other = {"train": [], "validation": [FIRST], "test": [SECOND]}
    for place, cases in (("", parts), ("fold0", parts), ("fold1", other)):
        save_bundle(unet, folder / place, tiny, TrainConfig(), cases)
    looked_at = {"fold0": Modality.T1CE, "fold1": Modality.FLAIR}

    def load(fold: Path) -> Network:
        channel = list(Modality).index(looked_at[fold.name])
        found = network(lambda tensor: bright_is_enhancing(tensor[..., [channel]]))
        return replace(found, model_id=fold.name)

    monkeypatch.setattr(evaluation, "load_network", load)
    monkeypatch.setattr(evaluation, "load_together", lambda infos: load(Path(infos[0].name)))
    monkeypatch.setattr("sys.argv", ["evaluate", str(data), "--model", str(folder)])
    assert evaluation.main() == 0
    metrics = json.loads((folder / METRICS).read_text())
    for key, expected in (
        ("cases", {FIRST: "fold0", SECOND: "fold1"}),
        ("validation", {SECOND: "fold0", FIRST: "fold1"}),
    ):
        assert {name: case["model"] for name, case in metrics[key].items()} == expected
    assert metrics["summary"]["ET"]["dice"]["mean"] == 1  # blinded is only who is asked to be
    half, whole = dict.fromkeys(("WT", "TC", "ET"), 0.5), dict.fromkeys(("WT", "TC", "ET"), 1.0)
    assert metrics["input_check"]["studies"] == 2
    assert metrics["patches"] == {}  # there are no cubes
    members = read_members(folder)
    assert metrics["weights_sha256"] == joint_sha256(members)
    card = (folder / CARD).read_text()
    for info in members:
        assert f"    {info.sha256}  {info.name}\n" in card
    assert f"`{joint_sha256(members)}`" in card
    # neither fold learnt from either patient, who is seen whole by both
    both = f"{FIRST} | 2 | 1.000, 1.000 | 1.000, 1.000 | 1.000, 1.000 |"
    assert both in card
    assert metrics["without"] == {"FLAIR": half, "T1": whole, "T1CE": half, "T2": whole}


def test_a_mean_is_measured_on_whom_several_networks_did_not_learn_from(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_case(data / SECOND)
    tiny, unet = UNetConfig(width=2, depth=1), build_unet(UNetConfig(width=2, depth=1))
    folds = [tmp_path / "model" / f"fold{number}" for number in range(3)]
    # the first patient is unknown to two folds, the second to one
    for fold, known in zip(folds, ([FIRST], [SECOND], [SECOND]), strict=True):
        save_bundle(unet, fold, tiny, TrainConfig(), {"train": known})

    def load(members: list[ModelInfo]) -> Network:
        def mean(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
            """Of who finds the 10 x 10 x 10 voxels, and who half of them and as many beside."""
            found = bright_is_enhancing(tensor)
            beside = np.roll(found, 5, axis=1)
            each = [beside if info.name == "fold2" else found for info in members]
            return np.mean(each, axis=0, dtype=np.float32)

        return network(mean)

    monkeypatch.setattr(evaluation, "load_together", load)
    ones, halves = dict.fromkeys(("WT", "TC", "ET"), 0.75), dict.fromkeys(("WT", "TC", "ET"), 0.8)
    # alone 1 and 0.5; together all 15 x 10 x 10 voxels are 50 % likely or more
    expected = {FIRST: {"networks": 2, "alone": ones, "together": halves}}
    assert averaged(data, folds) == expected


def test_the_check_before_the_network_is_measured(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # four times the same voxels: one file chosen for all slots
    assert input_check(find_cases(data)) == {"studies": 1, "stopped": 1, "swaps": 0, "noticed": 0}
    flair_first = {"holds": None}

    def looked_at(scans: dict[Modality, str]) -> dict[Modality, Modality]:
        return {} if scans[Modality.FLAIR] == "flair" else flair_first

    intake = SimpleNamespace(
        study=SimpleNamespace(scans={m: m.value for m in Modality}), notices=()
    )
    monkeypatch.setattr(evaluation, "read_study_folder", lambda folder: intake)
    monkeypatch.setattr(evaluation, "likely_arrangement", looked_at)
    # six swaps of two; three of them move FLAIR
    assert input_check(find_cases(data)) == {"studies": 1, "stopped": 0, "swaps": 6, "noticed": 3}


def test_a_lesion_network_is_measured_on_patches_of_patients_it_never_saw(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.full((2, 60, 60, 39, 4), 107, np.uint8)  # z = 1.0
    labels = np.zeros((2, 60, 60, 39), np.uint8)
    labels[:, 20:40, 20:40, 10:30] = 4
    images[labels == 4] = 170  # z = 4.0
    images[1, 30:40, 20:40, 10:30] = 107  # half of the second is not to be seen
    left_out = []

    def cubes(_: Path, excluded: set[str]) -> Cubes:
        left_out.append(excluded)
        return Cubes(images, labels, np.zeros((2, 3)))

    def load(_: Path) -> Network:
        found = network(lambda z: np.repeat(z[..., :1] > 3, 3, axis=-1) * np.float32(0.85))
        return replace(found, window=(80, 80, 80))

    tiny = UNetConfig(width=2, depth=1)
    save_bundle(build_unet(tiny), tmp_path / "lesion", tiny, TrainConfig(), {})
    monkeypatch.setattr(evaluation, "cube_patients", lambda folder: {"p1", "p2", "p3", FIRST})
    monkeypatch.setattr(evaluation, "unseen", lambda folder, parts, config: {"p1", "p2", FIRST})
    monkeypatch.setattr(evaluation, "read_cubes", cubes)
    monkeypatch.setattr(evaluation, "load_network", load)
    found = evaluate_patches(data, tmp_path / "lesion")
    assert left_out == [{"p3", FIRST}]
    assert (found["patients"], found["cubes"]) == (2, 2)
    assert found["dice"]["ET"] == pytest.approx([1, 2 / 3])
    assert [bins["voxels"][8] for bins in found["bins"]["ET"]] == [8000, 4000]
    assert [bins["frequency"][8] for bins in found["bins"]["ET"]] == [1, 1]


def test_no_shipped_figure_is_of_a_patient_its_network_saw() -> None:
    manifest = Path(__file__).parents[2] / "shared" / "data" / "manifest.csv"
    if not manifest.exists():
        pytest.skip(f"{manifest} tells which cases are one patient; it is not here")
    with manifest.open(newline="") as file:
        patient = {row["case"]: row["brats2020_id"] or row["case"] for row in csv.DictReader(file)}
    measured = json.loads((DEFAULT_MODEL / METRICS).read_text())["cases"]
    folds = folds_of(DEFAULT_MODEL)
    assert len(folds) == 5
    for fold in folds:
        cases = read_bundle(fold).cases
        seen = {patient[name] for part in ("train", "validation") for name in cases[part]}
        assert cases["test"]
        assert not seen & {patient[name] for name in cases["test"]}
        assert set(cases["test"]) <= set(measured)


def test_the_shipped_card_is_the_one_its_metrics_give(tmp_path: Path) -> None:
    shutil.copytree(DEFAULT_MODEL, tmp_path / DEFAULT_MODEL.name)
    write_card(tmp_path / DEFAULT_MODEL.name)
    shipped = (DEFAULT_MODEL / CARD).read_text()
    assert (tmp_path / DEFAULT_MODEL.name / CARD).read_text() == shipped
