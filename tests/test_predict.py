import io
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model import predict
from model.bundle import save_bundle
from model.config import TrainConfig, UNetConfig
from model.predict import Network, load_network, region_probabilities, segment
from model.runtime import Run
from model.unet import build_unet
from utils.errors import ModelError
from utils.grid import Grid
from utils.intake import Intake
from utils.labels import Label, Region
from utils.measure import region_volumes_ml
from utils.nifti import read_nifti, write_labels
from utils.notice import Notice
from utils.study import Modality, Study
from utils.volume import Volume

BRIGHT = 0.7


def bright_is_enhancing(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Call bright voxels enhancing: a network anyone can check by hand."""
    bright = tensor.mean(axis=-1, keepdims=True) > BRIGHT
    return np.repeat(bright, len(Region), axis=-1).astype(np.float32)


def network(run=bright_is_enhancing) -> Network:
    return Network(
        run, window=(48, 56, 40), model_id="fake", weights_sha256="0" * 64, runtime="by hand"
    )


@pytest.fixture
def head() -> Study:
    """16 mL of bright tumour, [8:18, 20:40, 4:12] on 2 x 1 x 5 mm voxels, in a dim brain."""
    grid = Grid(
        (40, 60, 20), np.array([[-2, 0, 0, 30], [0, 1, 0, -9], [0, 0, 5, 2], [0, 0, 0, 1.0]])
    )
    values = np.zeros(grid.shape, np.float32)
    values[4:36, 5:55, 2:18] = np.random.default_rng(0).uniform(10, 20, (32, 50, 16))
    values[8:18, 20:40, 4:12] = 100
    return Study({m: Volume(values.copy(), grid) for m in Modality})


def test_the_mask_lies_on_the_tumour_of_the_uploaded_grid(head: Study) -> None:
    labels = segment(head, network()).labels
    truth = np.zeros(head.grid.shape, bool)
    truth[8:18, 20:40, 4:12] = True
    found = labels == Label.ET
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.93  # borders are resampled
    assert found[13, 30, 8]
    assert set(np.unique(labels)) == {0, Label.ET}


def test_volumes_are_those_of_the_uploaded_voxels(head: Study) -> None:
    volumes = region_volumes_ml(segment(head, network()).labels, head.grid)
    assert volumes[Region.ET] == pytest.approx(16, rel=0.12)


def test_the_exported_mask_overlays_the_upload(head: Study) -> None:
    segmentation = segment(head, network())
    data = write_labels(segmentation.labels, segmentation.grid)
    exported, _ = read_nifti(data, "mask", labels=True)
    assert exported.grid.displacement_mm(head.grid) < 1e-3
    np.testing.assert_array_equal(exported.values, segmentation.labels)


def test_left_stays_left() -> None:
    grid = Grid((40, 40, 40), np.diag([1.0, 1, 1, 1]))  # RAS: index 0 is the patient's left
    values = np.random.default_rng(0).uniform(10, 20, grid.shape).astype(np.float32)
    values[2:12, 10:30, 10:30] = 100
    study = Study({m: Volume(values.copy(), grid) for m in Modality})
    where = np.argwhere(segment(study, network()).labels == Label.ET)
    assert where[:, 0].min() >= 1
    assert where[:, 0].max() <= 12


def test_the_same_study_gives_the_same_mask_twice(head: Study) -> None:
    first, again = (segment(head, network()) for _ in range(2))
    np.testing.assert_array_equal(first.labels, again.labels)
    np.testing.assert_array_equal(first.probabilities, again.probabilities)


def test_a_speck_is_dropped_and_the_steps_say_so() -> None:
    grid = Grid((40, 40, 40), np.eye(4))
    values = np.random.default_rng(0).uniform(10, 20, grid.shape).astype(np.float32)
    values[5:15, 5:15, 5:15] = 100  # 1 mL
    values[30:33, 30:33, 30:33] = 100  # 0.027 mL
    study = Study({m: Volume(values.copy(), grid) for m in Modality})
    segmentation = segment(study, network())
    assert (segmentation.labels == Label.ET).sum() == 1000
    told = segmentation.provenance.steps[-1]
    assert told.startswith("1 isolated finding below 0.1 mL (within a lesion 0.05 mL, ")
    assert told.endswith(" left out: 0.027 mL")


def test_the_time_of_the_run_is_recorded_once_in_utc(head: Study) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    finished = datetime.fromisoformat(segment(head, network()).provenance.finished_utc)
    assert before <= finished <= datetime.now(UTC)


def test_notices_travel_with_the_result(head: Study) -> None:
    notice = Notice("thick", "study", "Slices are 5 mm thick.")
    assert segment(head, network(), [notice]).provenance.notices == ("Slices are 5 mm thick.",)


def test_a_network_that_throws_gives_no_result(head: Study) -> None:
    def broken(_: NDArray[np.float32]) -> NDArray[np.float32]:
        raise MemoryError

    with pytest.raises(ModelError, match="nothing was segmented"):
        segment(head, network(broken))


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda t: np.full((*t.shape[:3], 3), np.nan, np.float32),
        lambda t: np.zeros((*t.shape[:3], 4), np.float32),
        lambda t: np.zeros((*(n // 2 for n in t.shape[:3]), 3), np.float32),
    ],
    ids=["nan", "four channels", "half the size"],
)
def test_a_network_that_returns_nonsense_gives_no_result(head: Study, nonsense) -> None:
    with pytest.raises(ModelError, match="not a segmentation"):
        segment(head, network(nonsense))


def test_progress_never_goes_back(head: Study) -> None:
    shares: list[float] = []
    segment(head, network(), progress=shares.append)
    assert shares == sorted(shares)
    assert shares


def test_a_head_of_one_window_makes_progress_with_each_look() -> None:
    shares: list[float] = []
    region_probabilities(np.zeros((48, 56, 40, 4), np.float32), network(), shares.append)
    assert shares[:2] == pytest.approx([0.5, 0.8])


def test_a_head_is_padded_to_what_the_network_takes_and_no_further(head: Study) -> None:
    seen = []

    def look(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(tensor.shape[:3])
        assert not tensor[:, 50:].any()
        return np.zeros((*tensor.shape[:3], 3), np.float32)

    # the brain is 64 x 50 x 80 mm
    segment(head, replace(network(look), window=(72, 72, 88), stride=8))
    assert seen == [(64, 56, 80)] * 2


def test_larger_heads_are_seen_by_windows_and_every_voxel_is_covered(head: Study) -> None:
    shapes = []

    def everything(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        shapes.append(tensor.shape)
        return np.ones((*tensor.shape[:3], 3), np.float32)

    # the brain is 64 x 50 x 80 mm: 2 x 2 x 3 windows of this size, twice
    small = Network(everything, (40, 48, 32), "fake", "0" * 64, "by hand")
    labels = segment(head, small).labels
    assert shapes == [(40, 48, 32, 4)] * 24
    assert (labels[4:36, 5:55, 2:18] == Label.ET).all()
    assert not labels[:4].any()


def test_where_windows_overlap_their_mean_counts() -> None:
    grid = Grid((60, 20, 20), np.diag([-1.0, -1, 1, 1]))
    values = np.random.default_rng(0).uniform(10, 20, grid.shape).astype(np.float32)
    study = Study({m: Volume(values + n, grid) for n, m in enumerate(Modality)})
    answers = iter((0.9, 0.3, 0.3, 0.9))  # and mirrored

    def by_turns(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full((*tensor.shape[:3], 3), next(answers), np.float32)

    turns = Network(by_turns, (40, 20, 20), "fake", "0" * 64, "by hand")
    stored = segment(study, turns).probabilities[:, 0, 0, 0]
    # 0.9 x 255 = 229.5, 0.6 x 255 = 153, 0.3 x 255 = 76.5; halves may fall either way
    assert set(stored[:20].tolist()) <= {229, 230}
    assert set(stored[20:40].tolist()) == {153}
    assert set(stored[40:].tolist()) <= {76, 77}


@pytest.mark.parametrize("name", ["mask.nii", "mask"])
def test_the_command_writes_only_what_its_name_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    monkeypatch.setattr("sys.argv", ["predict", str(tmp_path), str(tmp_path / name)])
    assert predict.main() == 65
    assert "does not end in .nii.gz" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["case_t1.nii.gz", "link/case_t1.nii.gz", "case_t1_seg.nii.gz"])
def test_the_command_never_overwrites_a_file(
    out: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    visit = tmp_path / "study" / "visit"  # scans are also found one folder deeper
    visit.mkdir(parents=True)
    (visit / "link").symlink_to(visit)
    files = [visit / "case_t1.nii.gz", visit / "case_t1_seg.json"]
    for file in files:
        file.write_bytes(b"the patient's")
    monkeypatch.setattr("sys.argv", ["predict", str(visit.parent), str(visit / out)])
    assert predict.main() == 65
    complaint = capsys.readouterr().err
    assert "exists and may belong to the scans" in complaint
    assert complaint.count("\n") == 1
    assert [file.read_bytes() for file in files] == [b"the patient's"] * 2
    assert not (visit / "case_t1_seg.nii.gz").exists()


def test_the_command_writes_through_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.nii.gz").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr("sys.argv", ["predict", str(tmp_path), str(tmp_path / "out.nii.gz")])
    assert predict.main() == 65
    assert "exists and may belong to the scans" in capsys.readouterr().err


def test_a_file_that_came_while_the_network_ran_is_kept(
    head: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.nii.gz"

    def slow(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        out.write_bytes(b"another mask")
        return bright_is_enhancing(tensor)

    intake = Intake(head, (), dict.fromkeys(Modality, "0" * 64))
    monkeypatch.setattr(predict, "read_study_folder", lambda folder: intake)
    monkeypatch.setattr(predict, "load_network", lambda folder: network(slow))
    monkeypatch.setattr("sys.argv", ["predict", str(tmp_path), str(out)])
    assert predict.main() == 65
    assert "out.nii.gz cannot be written (File exists)" in capsys.readouterr().err
    assert out.read_bytes() == b"another mask"
    assert not (tmp_path / "out.json").exists()


def test_the_command_says_beside_the_mask_how_it_was_made(
    head: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = {modality: f"{number:064x}" for number, modality in enumerate(Modality)}
    intake = Intake(head, (), hashes)
    monkeypatch.setattr(predict, "read_study_folder", lambda folder: intake)
    monkeypatch.setattr(predict, "load_network", lambda folder: network())
    monkeypatch.setattr("sys.argv", ["predict", str(tmp_path), str(tmp_path / "out.nii.gz")])
    assert predict.main() == 0
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["mask_sha256"] == sha256((tmp_path / "out.nii.gz").read_bytes()).hexdigest()
    assert hashes[Modality.T2] in json.dumps(record)
    (tmp_path / "out.nii.gz").unlink()
    assert predict.main() == 65  # out.json might describe a scan


def test_a_console_that_lacks_a_sign_shows_another_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "DOE_t1.nii").write_bytes(b"")
    shown = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(shown, encoding="latin-1"))
    monkeypatch.setattr("sys.argv", ["predict", "--check", str(tmp_path)])
    assert predict.main() == 65
    sys.stdout.flush()
    assert shown.getvalue().startswith(b"T1 scan (?t1.nii): the file is empty")


def test_a_name_too_long_for_a_file_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"{tmp_path}/{'x' * 300}.nii.gz"
    monkeypatch.setattr("sys.argv", ["predict", str(tmp_path), out])
    assert predict.main() == 65
    assert "cannot be written (File name too long)" in capsys.readouterr().err


SPACING = Notice("spacing", "study", "Voxels of 5 mm are outside the training data.", consent=True)
REPAIR = Notice("extra-bytes", "T1 scan", "T1 scan: 4 extra bytes were ignored.")
SKULL = Notice("skull", "T1 scan", "T1 scan: skull and scalp seem to be present.", consent=True)
SWAPPED = Notice("swapped", "T1, T2", "Scans may be in the wrong slots.", consent=True)


def commanded(
    monkeypatch: pytest.MonkeyPatch, head: Study, out: Path, notices: tuple[Notice, ...], *more: str
) -> int:
    """Run the command on a study of which the gate says this; return its exit status."""
    intake = Intake(head, notices, dict.fromkeys(Modality, "0" * 64))
    monkeypatch.setattr(predict, "read_study_folder", lambda folder: intake)
    monkeypatch.setattr(predict, "load_network", lambda folder: network())
    monkeypatch.setattr("sys.argv", ["predict", "study", str(out), *more])
    return predict.main()


def test_the_command_segments_no_scan_in_doubt_unless_told_to(
    head: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    notices = (REPAIR, SKULL, SPACING, SWAPPED)
    assert commanded(monkeypatch, head, tmp_path / "out.nii.gz", notices) == 65
    assert list(tmp_path.iterdir()) == []
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [SKULL.text, SWAPPED.text]
    assert "--go-on" in lines[2]
    assert len(lines) == 3


def test_the_record_says_that_the_reader_went_on_as_the_page_does(
    head: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, notices = tmp_path / "out.nii.gz", (REPAIR, SKULL, SPACING)
    assert commanded(monkeypatch, head, out, notices, "--go-on") == 0
    assert json.loads((tmp_path / "out.json").read_text())["notices"] == [
        REPAIR.text,
        f"{SKULL.text} The reader chose to go on.",
        f"{SPACING.text} The reader chose to go on.",
    ]


def test_what_is_odd_about_the_grid_alone_needs_no_consent(
    head: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert commanded(monkeypatch, head, tmp_path / "out.nii.gz", (REPAIR, SPACING)) == 0
    told = json.loads((tmp_path / "out.json").read_text())["notices"]
    assert told == [REPAIR.text, SPACING.text]


def test_the_command_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["predict", str(tmp_path), str(tmp_path / "out.nii.gz")])
    assert predict.main() == 65
    complaint = capsys.readouterr().err
    assert "FLAIR" in complaint
    assert complaint.count("\n") == 1
    assert not (tmp_path / "out.nii.gz").exists()


def test_the_mean_over_a_head_and_its_mirror_image_counts() -> None:
    def left_only(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.zeros((*tensor.shape[:3], 3), np.float32)
        found[24:] = tensor[24:, ..., :3]
        return found

    tensor = np.zeros((48, 56, 40, 4), np.float32)
    tensor[40:44, 10:20, 10:20] = 0.8
    tensor[2:5, 30:40, 10:20] = 0.6  # seen only where it is mirrored
    stored = region_probabilities(tensor, network(left_only))
    expected = np.zeros((48, 56, 40), np.uint8)
    expected[40:44, 10:20, 10:20] = 102  # 0.4 of 255
    expected[2:5, 30:40, 10:20] = 76  # 0.3
    np.testing.assert_array_equal(stored[..., 0], expected)


def test_another_network_may_be_asked_about_the_mirror_image() -> None:
    def says(probability: float) -> Run:
        def where_bright(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
            found = (tensor[..., :3] > BRIGHT) * np.float32(probability)
            found[24:] = 0  # each sees one half only
            return found

        return where_bright

    tensor = np.zeros((48, 56, 40, 4), np.float32)
    tensor[4:9, 10:20, 10:20] = 0.8
    tensor[44, 30:40, 10:20] = 0.8  # in the mirror in the other half
    stored = region_probabilities(tensor, replace(network(says(0.8)), mirrored=says(0.4)))
    expected = np.zeros((48, 56, 40), np.uint8)
    expected[4:9, 10:20, 10:20] = 102  # 0.8 / 2 of 255
    expected[44, 30:40, 10:20] = 51  # 0.4 / 2
    np.testing.assert_array_equal(stored[..., 2], expected)


@pytest.mark.parametrize(("found", "stored"), [(1.01, 255), (-0.01, 0), (0.5, 128)])
def test_a_probability_that_rounding_made_too_large_is_certain(found: float, stored: int) -> None:
    def everywhere(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full((*tensor.shape[:3], 3), found, np.float32)

    tensor = np.zeros((48, 56, 40, 4), np.float32)
    assert (region_probabilities(tensor, network(everywhere)) == stored).all()


def test_a_trained_network_reads_scores_over_the_whole_brain() -> None:
    seen = []

    def look(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(tensor.copy())
        return np.zeros((*tensor.shape[:3], 3), np.float32)

    tensor = np.zeros((64, 80, 48, 4), np.float32)
    tensor[:32, ..., :3], tensor[32:, ..., :3] = 0.2, 0.6  # mean 0.4, deviation 0.2
    tensor[..., 3] = 0.5  # no contrast
    tensor[:, :40] = 0  # air
    reader = replace(network(look), window=(64, 80, 48), standardised=True)
    region_probabilities(tensor, reader)
    scores, mirrored = seen
    np.testing.assert_array_equal(mirrored, scores[::-1])
    assert not scores[:, :40].any()
    for half, expected in ((slice(32), [-1, -1, -1, 0]), (slice(32, None), [1, 1, 1, 0])):
        np.testing.assert_allclose(
            scores[half, 40:].reshape(-1, 4), [expected] * 32 * 40 * 48, atol=1e-4
        )


def test_the_record_says_what_was_averaged(head: Study) -> None:
    one, three = network(), replace(network(), networks=3)
    mean = "probabilities are the mean over "
    for asked, told in (
        (one, "the head and its mirror image"),
        (three, "3 networks, half of them shown the head's mirror image"),
    ):
        assert mean + told in segment(head, asked).provenance.steps


def test_a_model_folder_answers_with_its_own_network_and_its_folds(tmp_path: Path) -> None:
    tiny, scans = UNetConfig(width=2, depth=1), np.ones((8, 8, 8, 4), np.float32)
    window = TrainConfig(window=(16, 16, 16))
    model = tmp_path / "model"
    save_bundle(build_unet(tiny), model, tiny, window, {})
    alone = [load_network(model)]
    for place in ("fold0", "fold1"):  # each of other random weights
        save_bundle(build_unet(tiny), model / place, tiny, window, {})
        alone.append(load_network(model / place))
    together = load_network(model)
    assert [(one.networks, one.mirrored) for one in alone] == [(1, None)] * 3
    assert (together.model_id, together.networks) == ("model", 3)
    lines = "".join(f"{one.weights_sha256}\n" for one in alone)
    assert together.weights_sha256 == sha256(lines.encode()).hexdigest()
    own, first, second = (one.run(scans) for one in alone)
    assert np.abs(own - second).max() > 1e-4
    np.testing.assert_allclose(together.run(scans), (own + second) / 2, atol=1e-6)
    assert (together.window, together.stride) == ((16, 16, 16), 4)
    assert together.run(np.ones((16, 8, 12, 4), np.float32)).shape == (16, 8, 12, 3)
    assert together.mirrored is not None
    np.testing.assert_allclose(together.mirrored(scans), first, atol=1e-6)
