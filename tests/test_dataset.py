from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from model import dataset
from model.config import TrainConfig
from model.dataset import (
    Case,
    Cubes,
    Packed,
    Split,
    cube_patients,
    find_cases,
    label_coding,
    named_cases,
    pack,
    read_cubes,
    split,
    unpacked,
    unseen,
)
from utils.errors import UserError
from utils.labels import LabelCoding

LPS = np.diag([-1.0, -1, 1, 1])
LIMITS = np.array([[-2.0] * 4, [4.0] * 4])
OLD, NEW = ("flair", "t1", "t1ce", "t2"), ("t2f", "t1n", "t1c", "t2w")


def write_case(
    root: Path, name: str, *, suffixes=OLD, extension="nii.gz", labels=(1, 2, 4)
) -> None:
    folder = root / name
    folder.mkdir(parents=True)
    brain = np.zeros((24, 26, 28), np.int16)
    brain[4:20, 4:22, 4:24] = np.random.default_rng(0).integers(50, 500, (16, 18, 20))
    truth = np.zeros(brain.shape, np.uint8)
    for number, value in enumerate(labels):
        truth[6 + 3 * number : 8 + 3 * number, 8:12, 8:12] = value
    separator = "_" if suffixes is OLD else "-"
    for number, suffix in enumerate(suffixes):
        image = nib.Nifti1Image((brain + number * (brain > 0)).astype(np.int16), LPS)
        nib.save(image, folder / f"{name}{separator}{suffix}.{extension}")
    nib.save(nib.Nifti1Image(truth, LPS), folder / f"{name}{separator}seg.{extension}")


@pytest.mark.parametrize(
    ("name", "suffixes", "extension", "values"),
    [
        ("BraTS20_Training_007", OLD, "nii", (1, 2, 4)),
        ("BraTS2021_00007", OLD, "nii.gz", (1, 2, 4)),
        ("BraTS-GLI-00007-000", NEW, "nii.gz", (1, 2, 3)),
        ("BRATS_007", OLD, "nii.gz", (2, 1, 3)),
    ],
)
def test_every_release_is_read_with_its_own_names_and_labels(
    tmp_path: Path, name: str, suffixes: tuple[str, ...], extension: str, values: tuple[int, ...]
) -> None:
    write_case(tmp_path, name, suffixes=suffixes, extension=extension, labels=values)
    (case,) = find_cases(tmp_path)
    study, labels = case.read()
    assert [labels[6 + 3 * n, 9, 9] for n in range(3)] == [1, 2, 4]
    # the four scans differ by 0, 1, 2, 3: each is in its own channel
    assert (study.stack()[10, 10, 10] - study.stack()[10, 10, 10, 0]).tolist() == [0, 1, 2, 3]


def test_an_unknown_release_is_refused_rather_than_guessed() -> None:
    with pytest.raises(UserError, match="patient7: the name fits no release"):
        label_coding("patient7")


def test_labels_of_another_coding_are_refused(tmp_path: Path) -> None:
    write_case(tmp_path, "BraTS20_Training_007", labels=(1, 2, 3))
    (case,) = find_cases(tmp_path)
    with pytest.raises(UserError, match=r"seg\.nii\.gz: values \[3"):
        case.read()


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no labelled BraTS case"):
        find_cases(tmp_path)


def test_a_set_is_complete_or_there_are_no_figures(tmp_path: Path) -> None:
    names = ["BraTS2021_00007", "BraTS2021_00001"]
    for name in (*names, "BraTS2021_00002"):
        write_case(tmp_path, name)
    assert [case.name for case in named_cases(tmp_path, names)] == names
    with pytest.raises(UserError, match="lacks BraTS2021_00009; the figures"):
        named_cases(tmp_path, [*names, "BraTS2021_00009"])
    with pytest.raises(UserError, match="lacks cases that the network never saw"):
        named_cases(tmp_path, [])


def test_msd_is_told_apart_by_its_name() -> None:
    assert label_coding("BRATS_001") is LabelCoding.MSD
    assert label_coding("BraTS20_Training_001") is LabelCoding.BRATS_2020


def test_two_visits_of_one_patient_are_one_patient(tmp_path: Path) -> None:
    for visit in ("000", "001"):
        write_case(tmp_path, f"BraTS-GLI-00007-{visit}", suffixes=NEW, labels=(1, 2, 3))
    assert {c.patient for c in find_cases(tmp_path)} == {"BraTS-GLI-00007"}


def test_one_patient_under_two_names_never_stands_on_both_sides(tmp_path: Path) -> None:
    names = [f"BraTS2021_{n:05}" for n in range(12)]
    for name in names:
        write_case(tmp_path, name)
    rows = [f"{name},patient{n // 2}" for n, name in enumerate(names)]
    (tmp_path / "manifest.csv").write_text("case,brats2020_id\n" + "\n".join(rows) + "\n")
    cases = find_cases(tmp_path)
    tested = []
    for fold in range(3):
        parts = split(cases, TrainConfig(folds=3, fold=fold, validation_patients=1))
        sides = [{c.patient for c in side} for side in (parts.train, parts.validation, parts.test)]
        assert not sides[0] & sides[1]
        assert not sides[0] & sides[2]
        assert not sides[1] & sides[2]
        tested += [c.name for c in parts.test]
        reordered = split(cases[::-1], TrainConfig(folds=3, fold=fold, validation_patients=1))
        assert {c.name for c in reordered.test} == {c.name for c in parts.test}
    assert sorted(tested) == names


@pytest.fixture
def case(tmp_path: Path) -> Case:
    write_case(tmp_path, "BraTS20_Training_007")
    (one,) = find_cases(tmp_path)
    return one


def test_a_packed_case_keeps_image_and_label_together(case: Case, tmp_path: Path) -> None:
    for _ in range(2):  # made, then taken from the cache
        packed = pack(case, tmp_path / "cache")
        assert packed.images.shape == (16, 18, 20, 4)
        assert packed.labels[2, 5, 5] == 1  # [6, 9, 9] of the scan; the brain begins at 4
        assert unpacked(packed.images).max() == pytest.approx(1, abs=0.005)
        assert packed.z_limits[0].max() < 0 < packed.z_limits[1].min()


def test_a_case_that_has_changed_is_packed_anew(case: Case, tmp_path: Path) -> None:
    assert pack(case, tmp_path / "cache").labels.any()
    corrected = nib.load(case.segmentation)
    blank = np.zeros(corrected.shape, np.uint8)
    nib.save(nib.Nifti1Image(blank, corrected.affine), case.segmentation)
    assert not pack(case, tmp_path / "cache").labels.any()


def test_what_was_prepared_in_another_way_is_not_taken_from_the_cache(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(case, tmp_path / "cache")
    monkeypatch.setattr(dataset, "SPEC", replace(dataset.SPEC, upper_percentile=99.0))
    pack(case, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_trainings_side_by_side_may_pack_one_case(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = dataset._preprocessed

    def slower_than_another(case: Case) -> tuple[Any, ...]:
        monkeypatch.setattr(dataset, "_preprocessed", prepared)
        assert pack(case, tmp_path / "cache").labels.any()  # the other one
        images, labels, z_limits = prepared(case)
        return images, np.zeros_like(labels), z_limits

    monkeypatch.setattr(dataset, "_preprocessed", slower_than_another)
    assert pack(case, tmp_path / "cache").labels.any()
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_case_half_packed_is_not_taken_for_whole(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = np.save

    def interrupted(file: Path, values: Any) -> None:
        if file.name == "labels.npy":
            raise KeyboardInterrupt
        save(file, values)

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pack(case, tmp_path / "cache")
    assert pack(case, tmp_path / "cache").labels.any()


def test_two_cases_of_one_name_are_refused(tmp_path: Path) -> None:
    for release in ("a", "b"):
        (tmp_path / release).mkdir()
        write_case(tmp_path / release, "BraTS20_Training_007")
    with pytest.raises(UserError, match="two cases called BraTS20_Training_007"):
        find_cases(tmp_path)


CUBE_MM = (60, 60, 39)


def write_cubes(folder: Path) -> None:
    """Four cubes of two patients: two cut from their label maps, one of no map, one too plain."""
    rng = np.random.default_rng(0)
    maps = np.zeros((2, 50, 50, 50), np.uint8)
    maps[:, 15:35, 15:35, 15:35] = rng.choice([0, 1, 2, 4], (2, 20, 20, 20))
    labels = np.stack(
        [maps[0, 5:37, 6:38, 7:39], maps[1, 10:42, 0:32, 3:35], maps[0, :32, :32, :32]]
    )
    labels[2, 20, 20, 20] += 1
    images = np.ones((4, 4, 32, 32, 32), np.uint8)
    np.savez(
        folder / "lesion_cubes.npz",
        names=["p1_lesion1", "p2_lesion1", "p2_lesion2", "p2_lesion3"],
        images=images * np.array([1, 2, 3, 4], np.uint8).reshape(4, 1, 1, 1, 1),
        labels=np.stack([*labels, np.zeros((32, 32, 32), np.uint8)]),
    )
    np.savez(folder / "label_maps.npz", names=["p1", "p2"], labels=maps)


def test_a_cube_knows_where_in_the_head_it_was_cut(tmp_path: Path) -> None:
    write_cubes(tmp_path)
    cubes = read_cubes(tmp_path, excluded=())
    assert cubes is not None
    assert cubes.images[:, 0, 0, 0, 0].tolist() == [1, 2]
    assert cubes.images.shape[1:] == (*CUBE_MM, 4)
    # the second: its middle is voxel (26, 16, 19) of 1.875 x 1.875 x 1.2109 mm
    expected = (26 * 1.875 - 120, 16 * 1.875 - 127, 19 * 155 / 128 - 72)
    assert cubes.centres_mm[1] == pytest.approx(expected)


def test_the_cubes_of_excluded_patients_are_left_out(tmp_path: Path) -> None:
    write_cubes(tmp_path)
    cubes = read_cubes(tmp_path, excluded={"p1"})
    assert cubes is not None
    assert cubes.images[:, 0, 0, 0, 0].tolist() == [2]
    assert read_cubes(tmp_path / "elsewhere", excluded=()) is None


def test_a_cube_comes_out_at_its_true_size(tmp_path: Path) -> None:
    labels = np.zeros((1, 40, 40, 40), np.uint8)
    labels[0, 8:24, 8:24, 8:24] = 4  # 30 x 30 x 19.4 mm: 17437 mm3
    images = np.ones((1, 4, 32, 32, 32), np.uint8)
    images[..., :8] = 0
    np.savez(
        tmp_path / "lesion_cubes.npz",
        names=["p1_l"],
        images=images,
        labels=labels[:, :32, :32, :32],
    )
    np.savez(tmp_path / "label_maps.npz", names=["p1"], labels=labels)
    cubes = read_cubes(tmp_path, excluded=())
    assert cubes is not None
    assert (cubes.labels == 4).sum() == pytest.approx(17437, rel=0.05)
    assert (cubes.images == 0).mean() == pytest.approx(8 / 32, abs=0.02)  # air stays air


def one_cube(centre_mm: tuple[float, float, float] = (0, 0, 0)) -> Cubes:
    """A lesion of 20 x 20 x 13 mm, four standard deviations bright, in tissue of one."""
    images = np.full((1, *CUBE_MM, 4), 107, np.uint8)  # 1 + 254 * (1 + 4) / 12
    labels = np.zeros((1, *CUBE_MM), np.uint8)
    labels[0, 20:40, 20:40, 13:26] = 4
    images[labels == 4] = 170  # 1 + 254 * (4 + 4) / 12
    return Cubes(images, labels, np.array([centre_mm]))


def empty_head() -> Packed:
    images = np.full((100, 100, 80, 4), 100, np.uint8)
    images[:, :, :8] = 0
    return Packed(images, np.zeros((100, 100, 80), np.uint8), np.array([[-2.0] * 4, [4.0] * 4]))


def test_voxels_to_centre_a_sample_on_lie_in_each_part_of_the_tumour() -> None:
    head = empty_head()
    assert head.parts == []
    head = empty_head()
    head.labels[60:80, 50:60, 40:50], head.labels[62:70, 52:58, 42:48] = 2, 4
    oedema, enhancing = head.parts
    assert {head.labels[i, j, k] for i, j, k in oedema.tolist()} == {2}
    # every second of 8, 6 and 6 along the axes
    assert sorted(enhancing.tolist()) == [
        [i, j, k] for i in range(62, 70, 2) for j in range(52, 58, 2) for k in range(42, 48, 2)
    ]


def test_a_fifth_of_the_patients_of_whom_there_are_only_cubes_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cubes(tmp_path)
    assert cube_patients(tmp_path) == {"p1", "p2"}
    assert cube_patients(tmp_path / "elsewhere") == set()
    names = {f"BraTS20_Training_{n:03}" for n in range(369)}
    monkeypatch.setattr(dataset, "cube_patients", lambda folder: names)
    nobody = Split((), (), ())
    folds = [unseen(tmp_path, nobody, TrainConfig(fold=fold)) for fold in range(5)]
    assert set.union(*folds) == names
    assert sum(map(len, folds)) == len(names)
    assert min(map(len, folds)) > 50
    assert not unseen(tmp_path, nobody, TrainConfig(fold=-1))


def test_a_patient_follows_his_whole_head_and_not_his_cube(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"BraTS20_Training_{n:03}" for n in range(30)]
    for name in names[:3]:
        write_case(tmp_path, name)
    cases = find_cases(tmp_path)
    monkeypatch.setattr(dataset, "cube_patients", lambda folder: set(names))
    for fold in range(5):
        config = TrainConfig(fold=fold)
        left_out = unseen(tmp_path, Split((cases[0],), (cases[1],), (cases[2],)), config)
        assert left_out & set(names[:3]) == set(names[1:3])
