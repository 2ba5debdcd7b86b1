"""Training from end to end, small: it must learn, stop, resume and leave a model that loads."""

import csv
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from keras import ops

from model import train as training
from model.augment import samples
from model.bundle import load_model, read_bundle
from model.config import TrainConfig, UNetConfig
from model.dataset import Cubes, Packed, find_cases, split
from model.predict import load_network
from model.train import Samples, _learning_rate, _predicted, train
from model.unet import build_unet
from tests.test_dataset import empty_head, one_cube
from utils.errors import UserError

TINY = UNetConfig(width=4, depth=1)
SHORT = TrainConfig(
    folds=4,
    validation_patients=1,
    patch_share=0,
    patch=(24, 16, 16),
    batch=2,
    crop=(16, 16, 16),
    head=(16, 20, 16),
    window=(16, 20, 16),
    head_epochs=1,
    steps_per_epoch=3,
    epochs=2,
    cube_share=0,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six patients whose tumour is what is bright."""
    root = tmp_path_factory.mktemp("cases")
    rng = np.random.default_rng(0)
    for number in range(6):
        folder = root / f"BraTS20_Training_{number:03}"
        folder.mkdir()
        brain = np.zeros((20, 24, 20), np.int16)
        brain[2:18, 2:22, 2:18] = rng.integers(60, 120, (16, 20, 16))
        truth = np.zeros(brain.shape, np.uint8)
        truth[5:12, 5:12, 5:12] = 4
        brain[truth == 4] = 250
        for suffix, array in {
            **dict.fromkeys(("flair", "t1", "t1ce", "t2"), brain),
            "seg": truth,
        }.items():
            image = nib.Nifti1Image(array, np.diag([-1.0, -1, 1, 1]))
            nib.save(image, folder / f"{folder.name}_{suffix}.nii.gz")
    return root


def history(out: Path) -> list[dict[str, str]]:
    with (out / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_training_leaves_a_model_that_loads_and_resumes_where_it_stopped(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    train(data, out, TINY, SHORT)
    assert [row["epoch"] for row in history(out)] == ["0", "1"]
    info = read_bundle(out)
    assert info.unet == TINY
    assert {len(info.cases[part]) for part in ("train", "validation", "test")} == {3, 1, 2}
    probabilities = load_network(out).run(np.zeros((16, 20, 16, 4), np.float32))
    assert probabilities.shape == (16, 20, 16, 3)

    longer = replace(SHORT, epochs=3)
    first_rows = history(out)
    train(data, out, TINY, longer)
    assert [row["epoch"] for row in history(out)] == ["0.0", "1.0", "2"]
    assert float(history(out)[0]["loss"]) == pytest.approx(float(first_rows[0]["loss"]))
    assert (out / "learning_curve.png").exists()


def test_a_training_is_not_resumed_with_other_patients(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    one_epoch = replace(SHORT, epochs=1)
    train(data, out, TINY, one_epoch)
    with pytest.raises(UserError, match="another recipe or other patients"):
        train(data, out, TINY, replace(one_epoch, fold=1))


def test_a_training_starts_from_other_weights_unless_they_saw_its_test_patients(
    data: Path, tmp_path: Path
) -> None:
    one_epoch = replace(SHORT, epochs=1, learning_rate=0.0)
    train(data, tmp_path / "first", TINY, one_epoch)
    one_epoch = replace(one_epoch, settled=True)
    first = read_bundle(tmp_path / "first")
    train(data, tmp_path / "everyone", TINY, replace(one_epoch, fold=-1), start=tmp_path / "first")
    info = read_bundle(tmp_path / "everyone")
    assert info.training.started_from == first.sha256
    assert (len(info.cases["train"]), info.cases["test"]) == (6, [])
    assert info.temperatures == first.temperatures  # doubt is learnt from unseen patients only
    scans = np.random.default_rng(0).random((16, 20, 16, 4), np.float32)
    np.testing.assert_allclose(
        load_network(tmp_path / "everyone").run(scans),
        load_network(tmp_path / "first").run(scans),
        atol=1e-6,
    )
    with pytest.raises(UserError, match="must not see"):
        train(data, tmp_path / "leak", TINY, one_epoch, start=tmp_path / "everyone")
    with pytest.raises(UserError, match="must be equal"):
        train(data, tmp_path / "other", replace(TINY, width=6), one_epoch, start=tmp_path / "first")


def test_a_finished_training_run_again_leaves_the_same_network(data: Path, tmp_path: Path) -> None:
    config = replace(SHORT, learning_rate=3e-2, ema_momentum=0.5)
    train(data, tmp_path, TINY, config)
    scans = np.random.default_rng(0).random((16, 20, 16, 4), np.float32)
    before = load_network(tmp_path).run(scans)
    train(data, tmp_path, TINY, config)  # no epoch is left: only the checkpoint can give this
    np.testing.assert_allclose(load_network(tmp_path).run(scans), before, atol=1e-6)


def test_training_lowers_the_loss(data: Path, tmp_path: Path) -> None:
    config = replace(SHORT, epochs=12, head_epochs=0, learning_rate=3e-2)
    train(data, tmp_path, TINY, config)
    losses = [float(row["loss"]) for row in history(tmp_path)]
    assert min(losses) < 0.8 * losses[0]


def test_lesions_are_pasted_and_none_of_a_patient_who_must_not_be_seen(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_out = []

    def cubes(_: Path, excluded: set[str]) -> Cubes:
        left_out.append(excluded)
        return one_cube()

    monkeypatch.setattr(training, "pack", lambda case, cache: empty_head())
    monkeypatch.setattr(training, "read_cubes", cubes)
    parts = split(find_cases(data), SHORT)
    whole = replace(SHORT, crop=(96, 96, 80), pasted_share=1.0)
    assert (
        Samples(data, parts, whole).cuts(epoch=0, step=0)[0].labels.any()
    )  # the heads themselves are without tumour
    assert left_out == [{case.patient for case in (*parts.validation, *parts.test)}]
    assert len(left_out[0]) == 3
    plain = replace(whole, pasted_share=0.0)
    assert not Samples(data, parts, plain).cuts(epoch=0, step=0)[0].labels.any()


def test_a_settled_training_keeps_its_statistics_and_learns_from_patches_and_heads(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "read_cubes", lambda folder, excluded: one_cube())
    patches = replace(SHORT, patch_share=1.0, cube_share=0.5)
    train(data, tmp_path / "patches", TINY, patches)
    both = replace(patches, patch_share=0.5, settled=True, epochs=3)
    train(data, tmp_path / "both", TINY, both, start=tmp_path / "patches")
    before, after = (
        {
            (layer.name, weight.name): weight.numpy()
            for layer in load_model(read_bundle(tmp_path / name)).layers
            for weight in layer.weights
        }
        for name in ("patches", "both")
    )
    for (layer, weight), values in before.items():
        kept = np.array_equal(values, after[layer, weight])
        assert kept is (weight in ("moving_mean", "moving_variance")), (layer, weight)
    with pytest.raises(UserError, match="statistics of another"):
        train(data, tmp_path / "alone", TINY, both)


def test_heads_of_any_shape_are_watched() -> None:
    head, odd = empty_head(), (slice(13), slice(21), slice(10))
    watched = Packed(head.images[odd], head.labels[odd], head.z_limits)
    (stored,) = _predicted(build_unet(TINY), [watched], TINY, SHORT)
    assert stored.shape == (13, 21, 10, 3)


def test_the_learning_rate_warms_up_for_an_epoch_and_falls_to_nearly_nothing() -> None:
    config = TrainConfig(learning_rate=2.0, steps_per_epoch=10, epochs=3)
    rates = [_learning_rate(config, step) for step in (0, 5, 10, 20, 30, 35)]
    # 1, 50.5 and 100 % of the peak; half-way down a cosine that ends at 0.5 %
    assert rates == pytest.approx([0.02, 1.01, 2, 1.005, 0.01, 0.01])


def test_a_step_shows_patches_or_one_crop_and_at_last_a_whole_head(data: Path) -> None:
    config = replace(SHORT, patch_share=0.5)
    source = Samples(data, split(find_cases(data), config), config)
    patches = ((24, 16, 16),) * 2
    for epoch, one in ((0, (16, 16, 16)), (1, (16, 20, 16))):
        steps = (source.cuts(epoch, step) for step in range(12))
        assert {tuple(cut.labels.shape for cut in cuts) for cuts in steps} == {patches, (one,)}


def test_a_training_that_goes_on_sees_other_samples_and_the_same_ones_again(data: Path) -> None:
    parts = split(find_cases(data), SHORT)
    first, again, on = (
        Samples(data, parts, replace(SHORT, started_from=start)).cuts(epoch=0, step=0)[0].images
        for start in ("", "", "ab")
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, on)


def test_samples_come_in_batches_of_heads_and_cubes(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "pack", lambda case, cache: empty_head())
    monkeypatch.setattr(training, "read_cubes", lambda folder, excluded: one_cube())
    parts = split(find_cases(data), SHORT)
    # the lesion is 5200 voxels large, and scaled by no more than a fifth along each axis
    for share, tumour in ((1.0, 2600), (0.0, 0)):
        patches = replace(SHORT, patch_share=1.0, patch=(56, 56, 40), batch=3, cube_share=share)
        cuts = Samples(data, parts, patches).cuts(epoch=0, step=0)
        images, regions = map(ops.convert_to_numpy, samples(cuts))
        assert images.shape == (3, 56, 56, 40, 4)
        assert (regions[..., 0].sum(axis=(1, 2, 3)) > tumour).all() or not share
        assert bool(regions.any()) is bool(share)  # the heads are without tumour


def test_the_command_trains_either_stage_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []
    monkeypatch.setattr(training, "train", lambda *args, **kwargs: asked.append(args[2:]))
    for recipe in (["--recipe", "heads"], []):
        monkeypatch.setattr(
            "sys.argv", ["train", str(tmp_path), str(tmp_path), *recipe, "--train", "epochs=2"]
        )
        assert training.main() == 0
    (unet, heads), (same, patches) = asked
    assert unet == same == UNetConfig()
    assert patches.epochs == heads.epochs == 2
    assert (patches.patch_share, heads.patch_share) == (1, 0.4)
    assert (patches.settled, heads.settled) == (False, True)
