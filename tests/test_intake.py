"""Files of a visit to one study: names, archives, and four scans against each other."""

import io
import itertools
import os
import re
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tests import corpus
from tests.corpus import LPS, TISSUES, gz, moved, nifti, rotated, scan
from utils.errors import (
    AmbiguousFileError,
    GridMismatchError,
    ImplausibleStudyError,
    MissingModalityError,
    RefusedStudyError,
    UnreadableArchiveError,
    UnreadableVolumeError,
    UserError,
)
from utils.filename import display_name, is_segmentation, label_of
from utils.grid import Grid
from utils.intake import (
    Light,
    assign,
    check,
    find_scans,
    open_study,
    read_scan,
    read_study_folder,
    review,
    unzip,
)
from utils.plausibility import (
    TRAINING_TILT_DEGREES,
    Contrasts,
    grid_notices,
    likely_arrangement,
    scan_doubts,
)
from utils.study import Modality
from utils.volume import Volume

FLAIR, T1, T1CE, T2 = Modality
GOOD = {m: (f"case_{m}.nii.gz", gz(nifti(scan(m)))) for m in Modality}

# ------------------------------------------------------------------------------------ file names


@pytest.mark.parametrize(
    "names",
    [
        "BraTS20_Training_001_{}.nii: flair t1 t1ce t2",
        "Brats18_CBICA_AWG_1_{}.nii.gz: flair t1 t1ce t2",
        "BraTS2021_00000_{}.nii.gz: flair t1 t1ce t2",
        "BraTS-GLI-00012-000-{}.nii.gz: t2f t1n t1c t2w",
        "UPENN-GBM-00001_11_{}.nii.gz: FLAIR T1 T1GD T2",
        "UCSF-PDGM-0004_{}.nii.gz: FLAIR T1 T1c T2",
        "sub-01_{}.nii.gz: FLAIR T1w ce-T1w T2w",
        "POST_OP_7_{}.nii: flair t1 t1_post t2",
        "{}.nii.gz: t2_flair t1_pre t1_gd t2_tse",
        "exam {}.nii.gz: ax~T2~FLAIR ax~T1 ax~T1~+C T2w",
        "x_{}.nii: T2FLAIR T1pre T1post T2",
        "x.{}.nii.gz: flair t1.native t1.km t2",
        "{}.nii.gz: darkfluid T1_without_contrast T1_with_contrast T2_space",
        "{}.nii: FLAIR T1~ohne~KM T1~mit~KM T2",
        "{}.nii: FLAIR T1~vor~KM-Gabe T1~nach~KM-Gabe T2",
        "{}.nii: FLAIR T1~wo~contrast T1~w~contrast T2",
        "{}.nii: FLAIR T1~sans~gado T1~gado T2",
        "{}.nii: FLAIR T1~sans~gado T1~avec~gado T2",
        "{}.nii: FLAIR T1_before_gd T1_after_gd T2",
        "{}.nii: FLAIR T1~C- T1~C+ T2",
        "{}.nii: FLAIR T1~-Gd T1~+Gd T2",
        "{}.nii: FLAIR T1-w_pre T1-w_post T2-w",
    ],
)
def test_usual_spellings_are_recognised(names: str) -> None:
    pattern, spellings = names.rsplit(": ", 1)
    files = [pattern.format(s.replace("~", " ")) for s in spellings.split()]
    assert assign(list(reversed(files))) == dict(zip(Modality, files, strict=True))


@pytest.mark.parametrize(
    "name",
    [
        "DOE_JANE.nii.gz", "t1_t2.nii", "t1_flair.nii", "t2star.nii.gz", "t1_seg.nii.gz", "swi.nii",
        "post_op_t1.nii.gz", "brain_mask_t1.nii", "t1.json", "adc.nii.gz", "__MACOSX/._t1.nii.gz",
        ".t1.nii.gz", "t10.nii", "t1_t1ce_diff_t2.nii", "t1_pre_post.nii", "t1_w_wo_contrast.nii",
        "T1 vor und nach KM.nii", "t1_before_after_gd.nii", "pre_op_t1_gd.nii", "t1_gd_before.nii",
        "notes_t1.docx", "t1.nii.gz.crdownload", "t1.html",
    ],
)  # fmt: skip
def test_names_that_state_no_modality_or_two_are_not_guessed(name: str) -> None:
    assert assign([name]) == {}


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("T1 C-.nii", T1),
        ("T1C-.nii", T1),
        ("t1_gd-_ax.nii", T1),
        ("T1 (-Gd).nii", T1),
        ("T1 C\u2212.nii", T1),  # a minus sign, not a hyphen
        ("sub-01_ce-T1w.nii", T1CE),
        ("t1-c.nii", T1CE),
        ("T1-Gd-3D.nii", T1CE),
        ("BraTS-GLI-00012-000-t1c.nii", T1CE),
        ("DOE - T1 - Gd.nii", T1CE),
    ],
)
def test_a_minus_means_without_and_a_hyphen_nothing(name: str, modality: Modality) -> None:
    assert assign([name]) == {modality: name}


@pytest.mark.parametrize("name", ["t1", "DOE_1998.09.19_T1", "DOE.T1", "t1.nii.xz", "T1.NII.GZ"])
def test_a_scan_may_have_any_image_s_extension_or_none(name: str) -> None:
    assert assign([name]) == {T1: name}


@pytest.mark.parametrize("end", ["", ".gz"])
def test_the_two_halves_of_a_pair_are_one_scan(end: str) -> None:
    header = f"x_t1.hdr{end}"
    assert assign([header, f"X_T1.IMG{end}"]) == {T1: header}


def test_two_candidates_for_a_modality_are_left_to_the_person() -> None:
    assert assign(["a_t1.nii", "b_t1.nii.gz", "a_t2.nii"]) == {T2: "a_t2.nii"}


def test_segmentations_are_known_by_name() -> None:
    assert is_segmentation("W39_1998.09.19_Segm.nii")
    assert not is_segmentation("BraTS20_Training_001_t1.nii")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("t1.nii.gz", "t1.nii.gz"),
        ("../../etc/passwd", "passwd"),
        ("C:\\scans\\t1.nii", "t1.nii"),
        ("a\0b\n.nii", "a_b_.nii"),
        ("<img src=x onerror=alert(1)>.nii", "_img src=x onerror=alert(1)_.nii"),
        ("![x](http://e.org/a.png)", "a.png)"),
        ("$x$ `y` *z* :red[t]", "_x_ _y_ _z_ _red_t_"),
        ("\u202egz.iin.t1", "_gz.iin.t1"),
        ("\u05d0\u05d1.nii", "__.nii"),
        ("\U0001f9e0.nii", "_.nii"),
        ("Müller_1.nii", "Müller_1.nii"),
        ("", "unnamed file"),
    ],
)
def test_a_hostile_name_is_shown_harmlessly(name: str, shown: str) -> None:
    assert display_name(name) == shown


def test_a_long_name_loses_its_middle_but_not_its_end() -> None:
    shown = display_name("a" * 300 + "_t1.nii.gz")
    assert len(shown) == 60
    assert shown.endswith("_t1.nii.gz")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("DOE_JANE_MRN12345_t1ce.nii.gz", "…t1ce.nii.gz"),
        ("t1.nii.gz", "t1.nii.gz"),
        ("DOE^JANE.nii.gz", "….nii.gz"),
        ("../DOE/x", "…"),
    ],
)
def test_what_is_written_of_a_name_comes_from_our_own_vocabulary(name: str, label: str) -> None:
    assert label_of(name) == label


# -------------------------------------------------------------------------------------- archives


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def test_a_zip_gives_its_scans_by_base_name_and_nothing_else() -> None:
    archive = zipped(
        {
            "case/": b"",
            "case/deep/case_t1.nii.gz": b"one",
            "../../case_t2.nii.gz": b"two",
            "case/DOE.nii.gz": b"three",
            "case/case_seg.nii.gz": b"no",
            "case/case_t1.json": b"no",
            "__MACOSX/case/._case_t1.nii.gz": b"no",
            "case/.hidden.nii.gz": b"no",
            "readme.txt": b"no",
        }
    )
    assert unzip(archive, "x.zip") == [
        ("case_t1.nii.gz", b"one"),
        ("case_t2.nii.gz", b"two"),
        ("DOE.nii.gz", b"three"),
    ]


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    packed = zipped({"a_t1.nii": bytes(2**26)})
    bomb = io.BytesIO(packed)
    with zipfile.ZipFile(bomb, "a") as archive:
        for n in range(8):
            archive.writestr(f"b{n}_t1.nii", bytes(2**26), zipfile.ZIP_DEFLATED)
    with pytest.raises(UnreadableArchiveError, match="would unpack to 576 MB"):
        unzip(bomb.getvalue(), "x.zip")


def test_a_zip_that_lies_about_a_size_is_refused() -> None:
    archive = bytearray(zipped({"a_t1.nii": bytes(5000)}))
    at = archive.index(b"PK\x01\x02") + 24
    archive[at : at + 4] = (10).to_bytes(4, "little")
    with pytest.raises(UnreadableArchiveError):
        unzip(bytes(archive), "x.zip")


def test_a_zip_with_too_many_files_is_refused() -> None:
    with pytest.raises(UnreadableArchiveError, match=r"1,001 files"):
        unzip(zipped({f"{n}": b"" for n in range(1001)}), "x.zip")


def test_a_locked_zip_is_refused() -> None:
    archive = bytearray(zipped({"a_t1.nii": b"x"}))
    archive[archive.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(UnreadableArchiveError, match="password"):
        unzip(bytes(archive), "x.zip")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04" + bytes(50), b"<html>"])
def test_what_is_no_zip_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableArchiveError, match="damaged"):
        unzip(data, "x.zip")


def test_a_damaged_zip_is_refused() -> None:
    archive = bytearray(zipped({"a_t1.nii": np.random.default_rng(0).bytes(5000)}))
    archive[200] ^= 1
    with pytest.raises(UnreadableArchiveError, match="damaged"):
        unzip(bytes(archive), "x.zip")


def test_a_zip_whose_table_points_before_its_start_is_refused() -> None:
    archive = bytearray(zipped({"a_t1.nii": b"x"}))
    archive[-6:-2] = (2**20).to_bytes(4, "little")
    with pytest.raises(UnreadableArchiveError, match="damaged"):
        unzip(bytes(archive), "x.zip")


def test_a_zip_with_a_name_that_is_no_text_is_refused() -> None:
    archive = bytearray(zipped({"a_t1.nii": b"x"}))
    at = archive.index(b"PK\x01\x02")
    archive[at + 9] |= 8  # the name is UTF-8
    archive[at + 46] = 0xFF
    with pytest.raises(UnreadableArchiveError, match="damaged"):
        unzip(bytes(archive), "x.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_could_unpack_to_anything_is_refused_unopened(method: int) -> None:
    with pytest.raises(UnreadableArchiveError, match="another method"):
        unzip(zipped({"a_t1.nii": b"x"}, method), "x.zip")


def test_a_zip_too_large_for_this_computer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(zipfile.ZipFile, "read", full)
    with pytest.raises(UnreadableArchiveError, match="not enough free memory"):
        unzip(zipped({"a_t1.nii": b"x"}), "x.zip")


def test_a_zip_without_a_scan_is_refused() -> None:
    with pytest.raises(UnreadableArchiveError, match="holds no NIfTI scan"):
        unzip(zipped({"readme.txt": b""}), "x.zip")


# ----------------------------------------------------------------------------- the four together


def test_a_good_study_opens_without_a_word_and_remembers_its_files() -> None:
    intake = open_study(GOOD)
    assert intake.notices == ()
    assert list(intake.study.scans) == list(Modality)
    assert intake.sha256 == {m: sha256(data).hexdigest() for m, (_, data) in GOOD.items()}
    for m in Modality:
        np.testing.assert_array_equal(intake.study.scans[m].values, scan(m))


def test_everything_that_is_wrong_is_said_at_once() -> None:
    bad = {T1: ("t1.nii", b""), T2: ("t2.nii", b"<html>"), FLAIR: GOOD[FLAIR]}
    with pytest.raises(RefusedStudyError) as refusal:
        open_study(bad)
    assert [type(e) for e in refusal.value.errors] == [
        UnreadableVolumeError,
        UnreadableVolumeError,
        MissingModalityError,
    ]
    for title in ("T1 scan", "T2 scan", "lacks T1ce"):
        assert title in str(refusal.value)


def test_one_thing_that_is_wrong_keeps_its_own_type() -> None:
    with pytest.raises(MissingModalityError, match=r"lacks T1 and T2\."):
        open_study({FLAIR: GOOD[FLAIR], T1CE: GOOD[T1CE]})


def test_grids_that_differ_are_shown_as_a_table_of_four() -> None:
    bad = {**GOOD, T2: ("t2.nii", nifti(scan("t2"), moved(4)))}
    with pytest.raises(GridMismatchError) as refusal:
        open_study(bad)
    for title in ("FLAIR", "T1", "T1ce", "T2"):
        assert f"- {title}: 48 x 48 x 31 voxels of 1.00 x 1.00 x 1.00 mm, LPS" in str(refusal.value)
    assert str(refusal.value).count("off by 4.0 mm") == 1
    assert "Co-register" in str(refusal.value)


@pytest.mark.parametrize(("shift_mm", "opens"), [(0.09, True), (0.12, False)])
def test_grids_may_differ_by_a_tenth_of_a_millimetre(shift_mm: float, opens: bool) -> None:
    scans = {**GOOD, T2: ("t2.nii", nifti(scan("t2"), moved(shift_mm)))}
    if opens:
        assert open_study(scans).notices == ()
    else:
        with pytest.raises(GridMismatchError, match=r"off by 0\.1 mm"):
            open_study(scans)


def test_one_file_in_two_slots_names_both() -> None:
    with pytest.raises(ImplausibleStudyError, match="T1 and T1ce hold the same voxels"):
        open_study({**GOOD, T1: ("t1.nii", GOOD[T1CE][1])})


def skulled(*modalities: Modality) -> dict[Modality, tuple[str, bytes]]:
    """Some of the good scans with noisy air and a scalp."""
    values = {m: corpus.with_skull(scan(m).astype(np.float32), n) for n, m in enumerate(modalities)}
    return {m: (f"case_{m}.nii.gz", gz(nifti(values[m]))) for m in modalities}


def one_grey_value_more(values: NDArray[np.int16]) -> NDArray[np.int16]:
    changed = values.copy()
    changed[24, 24, 15] += 1
    return changed


@pytest.mark.parametrize(
    "twice",
    [nifti(scan("t1"), scl_slope=2), nifti(one_grey_value_more(scan("t1")))],
    ids=["scaled", "one voxel differs"],
)
@pytest.mark.parametrize("beside", [(), (FLAIR, T2)], ids=["stripped", "skulls beside"])
def test_one_series_in_two_slots_is_seen_whatever_its_scale(
    twice: bytes, beside: tuple[Modality, ...]
) -> None:
    with pytest.raises(ImplausibleStudyError, match="T1 and T1ce are the same picture"):
        open_study({**GOOD, **skulled(*beside), T1CE: ("t1ce.nii", twice)})


def test_one_series_in_two_slots_is_seen_with_the_skull_on_all_scans() -> None:
    head = corpus.with_skull(scan("t1").astype(np.float32), 0)
    scans = {**skulled(*Modality), T1: ("t1.nii", nifti(head)), T1CE: ("c.nii", nifti(head * 3))}
    with pytest.raises(ImplausibleStudyError, match="T1 and T1ce are the same picture"):
        open_study(scans)


def test_two_scans_that_can_be_read_are_compared_although_others_cannot() -> None:
    broken = {FLAIR: ("flair.nii", b""), T2: ("t2.nii", b"")}
    scans = {**GOOD, **broken, T1CE: ("t1ce.nii", nifti(scan("t1"), scl_slope=2))}
    with pytest.raises(RefusedStudyError, match="T1 and T1ce are the same picture"):
        open_study(scans)


def test_a_brain_of_another_patient_is_named() -> None:
    with pytest.raises(ImplausibleStudyError, match="brain in T1ce has another outline"):
        open_study({**GOOD, T1CE: ("t1ce.nii", nifti(scan("t1ce", shift=4)))})


def test_two_patients_with_two_scans_each_are_told_apart() -> None:
    other = {m: (f"{m}.nii", nifti(scan(m, shift=4))) for m in (T1CE, T2)}
    with pytest.raises(ImplausibleStudyError, match="two patients"):
        open_study({**GOOD, **other})


def test_a_skull_on_one_scan_hides_no_other_patient() -> None:
    scans = {**GOOD, **skulled(T2), T1CE: ("t1ce.nii", nifti(scan("t1ce", shift=4)))}
    with pytest.raises(
        ImplausibleStudyError, match="T1ce has another outline than in FLAIR and T1"
    ):
        open_study(scans)


def test_a_skull_on_one_scan_hides_no_swap_of_the_others() -> None:
    swapped = {T1: ("a.nii", GOOD[T1CE][1]), T1CE: ("b.nii", GOOD[T1][1])}
    notices = open_study({**GOOD, **skulled(T2), **swapped}).notices
    assert [(n.code, n.subject) for n in notices] == [
        ("skull", "T2 scan (…t2.nii.gz)"),
        ("swapped", "T1, T1ce"),
    ]


@pytest.mark.parametrize("modalities", [(T2,), (FLAIR, T1, T1CE), tuple(Modality)])
def test_a_skull_alone_suggests_no_swap(modalities: tuple[Modality, ...]) -> None:
    notices = open_study({**GOOD, **skulled(*modalities)}).notices
    assert [n.code for n in notices] == ["skull"] * len(modalities)


def test_air_that_is_alike_suggests_no_swap_where_every_scan_has_a_skull() -> None:
    seeds = {FLAIR: 1, T1: 0, T1CE: 1, T2: 0}  # unlike the brain, where T1 resembles T1ce
    heads = {m: corpus.with_skull(scan(m).astype(np.float32), seed) for m, seed in seeds.items()}
    grid = Grid(corpus.SHAPE, LPS)
    assert likely_arrangement({m: Volume(values, grid) for m, values in heads.items()})
    notices = open_study({m: (f"{m}.nii", nifti(values)) for m, values in heads.items()}).notices
    assert [n.code for n in notices] == ["skull"] * 4


def in_a_wide_image(modality: Modality, size_mm: float) -> tuple[str, bytes]:
    values = np.pad(scan(modality), ((8, 8), (8, 8), (0, 0)))  # 64 x 64 x 31
    return f"{modality}.nii", nifti(values, LPS @ np.diag([size_mm, size_mm, size_mm, 1]))


def test_a_brain_too_small_for_its_voxels_to_be_true_is_asked_about() -> None:
    (notice,) = open_study({m: in_a_wide_image(m, 1) for m in Modality}).notices
    assert (notice.code, notice.subject, notice.consent) == ("brain-size", "study", True)
    assert notice.text.startswith("The brain would hold 21 mL")  # 4/3 pi 19 x 20 x 13 mm


def test_a_brain_of_usual_size_is_not_asked_about() -> None:
    notices = open_study({m: in_a_wide_image(m, 4) for m in Modality}).notices  # 1.3 l
    assert "brain-size" not in [n.code for n in notices]


def test_a_part_of_a_brain_is_not_called_too_small() -> None:
    begun = {m: np.pad(scan(m)[:, :, 14:], ((8, 8), (8, 8), (0, 0))) for m in Modality}
    notices = open_study({m: (f"{m}.nii", nifti(values)) for m, values in begun.items()}).notices
    assert {n.code for n in notices} == {"brain-cut"}


def test_a_slightly_different_outline_is_asked_about() -> None:
    thinner = scan("t1")
    thinner[: np.flatnonzero(thinner.any((1, 2)))[0] + 7] = 0
    (notice,) = open_study({**GOOD, T1: ("t1.nii", nifti(thinner))}).notices
    assert (notice.code, notice.subject, notice.consent) == ("outline", "T1", True)


def test_what_all_four_names_begin_with_says_nothing_about_one() -> None:
    scans = {m: (f"POST_17_{m}.nii.gz", GOOD[m][1]) for m in Modality}
    assert open_study(scans).notices == ()
    mistaken = {**scans, T1: scans[T1CE], T1CE: scans[T1]}
    told = [n.text for n in open_study(mistaken).notices if n.code == "name-contradicts-slot"]
    assert ["says T1ce" in told[0], "says T1;" in told[1], len(told)] == [True, True, 2]


def test_the_doubt_about_one_name_alone_is_taken_back_by_the_others() -> None:
    readings = {m: read_scan(m, f"POST_17_{m}.nii.gz", GOOD[m][1]) for m in Modality}
    assert [n.code for n in readings[T1].notices] == ["name-contradicts-slot"]
    assert review(readings).light(T1) is Light.GREEN


def test_a_file_name_that_contradicts_its_slot_is_asked_about() -> None:
    scans = {**GOOD, T2: ("DOE_t1.nii.gz", GOOD[T2][1])}
    (notice,) = open_study(scans).notices
    assert notice.consent
    assert "the file name says T1" in notice.text
    assert "DOE" not in notice.text


@pytest.mark.parametrize("order", list(itertools.permutations(TISSUES)), ids="-".join)
def test_every_wrong_order_of_the_four_is_asked_about_and_the_right_one_is_not(
    order: tuple[str, ...],
) -> None:
    scans = {
        m: Volume(scan(t).astype(np.float32), Grid(corpus.SHAPE, LPS))
        for m, t in zip(Modality, order, strict=True)
    }
    found = likely_arrangement(scans)
    assert found == {m: Modality(t) for m, t in zip(Modality, order, strict=True) if m != t}


@pytest.mark.parametrize("seed", range(10))
def test_noise_is_not_mistaken_for_a_wrong_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    brain = corpus.tissue_map() > 0
    scans = {
        m: Volume(
            (brain * rng.normal(500, 100, brain.shape)).astype(np.float32), Grid(brain.shape, LPS)
        )
        for m in Modality
    }
    assert likely_arrangement(scans) == {}


def test_of_a_large_head_no_more_voxels_are_ranked_than_contrasts_need() -> None:
    rng = np.random.default_rng(0)
    grid = Grid((120, 120, 120), LPS)  # 1.7 million voxels
    found = Contrasts.of({m: Volume(rng.random(grid.shape, np.float32), grid) for m in (T1, T2)})
    assert found
    assert 200_000 < found.voxels <= 400_000


def test_a_tiny_brain_is_not_judged_by_contrast() -> None:
    rng = np.random.default_rng(0)
    scans = {
        m: Volume(rng.random((16, 16, 16), np.float32), Grid((16, 16, 16), LPS)) for m in Modality
    }
    for volume in scans.values():
        volume.values.flags.writeable = True
        volume.values[:, :, 5:] = 0
    assert likely_arrangement(scans) == {}


@pytest.mark.parametrize(("size_mm", "codes"), [(4, []), (5, ["skull"])])
def test_more_than_any_brain_is_a_head(size_mm: float, codes: list[str]) -> None:
    grid = Grid(corpus.SHAPE, LPS @ np.diag([size_mm, size_mm, size_mm, 1]))  # 1.3 l, 2.6 l
    volume = Volume(scan("t2").astype(np.float32), grid)
    assert [n.code for n in scan_doubts(T2, volume, "T2 scan")] == codes


@pytest.mark.parametrize(("modality", "codes"), [(T1, ["skull"]), (T1CE, ["skull"]), (T2, [])])
def test_a_bright_rim_is_a_scalp_in_t1_but_may_be_fluid_in_t2(
    modality: Modality, codes: list[str]
) -> None:
    values = scan("t1").astype(np.float32)
    inside = ndimage.binary_erosion(values > 0, iterations=2)
    values[(values > 0) & ~inside] = 2000
    volume = Volume(values, Grid(corpus.SHAPE, LPS))
    assert [n.code for n in scan_doubts(modality, volume, "scan")] == codes


@pytest.mark.parametrize(
    ("shape", "codes"),
    [((240, 240, 155), []), ((182, 218, 182), ["field-of-view"]), ((200, 200, 150), [])],
)
def test_more_head_than_in_training_is_said(shape: tuple[int, int, int], codes: list[str]) -> None:
    assert [n.code for n in grid_notices(Grid(shape, LPS))] == codes


def test_extent_is_measured_in_the_patient_not_in_the_array() -> None:
    lying = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    assert "field-of-view" not in [n.code for n in grid_notices(Grid((155, 240, 240), lying))]


@pytest.mark.parametrize(
    ("affine", "codes", "says"),
    [
        (LPS, [], ""),
        (np.eye(4), ["orientation"], "flipped or swapped"),
        (rotated(10), ["tilt"], "sees them so, as it saw heads in training"),
        (rotated(20), ["tilt"], "sees them so, .*outside the training data"),
        (rotated(20) @ np.diag([-1, 1, 1, 1]), ["orientation", "tilt"], "flipped.*sees them so"),
    ],
    ids=["LPS", "RAS", "10 degrees", "20 degrees", "RPS and 20 degrees"],
)
def test_axes_are_swapped_but_a_tilt_stays(
    affine: NDArray[np.float64], codes: list[str], says: str
) -> None:
    notices = grid_notices(Grid(corpus.SHAPE, affine))
    assert [n.code for n in notices] == codes
    assert not any(n.consent for n in notices)
    assert re.search(says, " ".join(n.text for n in notices))


def test_training_turns_heads_about_an_axis_as_far_as_is_said_of_a_tilt() -> None:
    from model.augment import TURN_RADIANS  # Keras, which nothing else here needs

    assert 14 < np.degrees(TURN_RADIANS) < TRAINING_TILT_DEGREES


def test_repairs_need_no_consent_and_doubts_do() -> None:
    coarse = open_study(
        {m: (f"{m}.nii", nifti(scan(m), LPS @ np.diag([1, 1, 3, 1]))) for m in Modality}
    )
    assert [(n.code, n.consent) for n in coarse.notices] == [("spacing", True)]
    turned = open_study({m: (f"{m}.nii", nifti(scan(m), np.eye(4))) for m in Modality})
    assert [(n.code, n.consent) for n in turned.notices] == [("orientation", False)]


# --------------------------------------------------------------------------------- traffic lights


def lights(scans: dict[Modality, tuple[str, bytes]]) -> dict[Modality, Light]:
    found = review({m: read_scan(m, *file) for m, file in scans.items()})
    return {m: found.light(m) for m in Modality}


def test_a_good_study_is_green() -> None:
    assert set(lights(GOOD).values()) == {Light.GREEN}


def test_only_the_unreadable_scan_is_red() -> None:
    found = lights({**GOOD, T1: ("t1.nii", b"")})
    assert found == {FLAIR: Light.GREEN, T1: Light.RED, T1CE: Light.GREEN, T2: Light.GREEN}


def test_a_missing_scan_is_red_and_says_so() -> None:
    found = review({m: read_scan(m, *GOOD[m]) for m in (FLAIR, T1, T1CE)})
    assert found.light(T2) is Light.RED
    assert found.light(T1) is Light.GREEN
    assert [str(error) for error in found.all_errors()] == [
        "This study lacks T2. Add the missing scan, with its modality in the file name "
        "(flair, t1, t1ce, t2), and try again."
    ]


def test_swapped_scans_are_amber_and_the_others_green() -> None:
    swapped = {**GOOD, T1: ("a.nii", GOOD[T1CE][1]), T1CE: ("b.nii", GOOD[T1][1])}
    found = lights(swapped)
    assert found == {FLAIR: Light.GREEN, T1: Light.AMBER, T1CE: Light.AMBER, T2: Light.GREEN}


def test_a_repair_stays_green_and_is_listed() -> None:
    repaired = {**GOOD, T1: ("t1.nii", nifti(scan("t1"), tail=b"junk"))}
    found = review({m: read_scan(m, *file) for m, file in repaired.items()})
    assert found.light(T1) is Light.GREEN
    assert "4 extra bytes" in found.all_notices()[0].text


# ---------------------------------------------------------------------------------------- folders


def folder_of(files: dict[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_study_may_lie_one_folder_deeper(tmp_path: Path) -> None:
    folder_of({f"case/{name}": data for name, data in GOOD.values()}, tmp_path)
    assert read_study_folder(tmp_path).notices == ()
    assert find_scans(tmp_path)[T1] == tmp_path / "case/case_t1.nii.gz"


def test_a_folder_that_lacks_a_scan_cannot_be_a_case(tmp_path: Path) -> None:
    with pytest.raises(MissingModalityError, match="lacks FLAIR, T1, T1ce and T2"):
        find_scans(tmp_path)


def test_a_folder_that_does_not_exist_is_a_refusal(tmp_path: Path) -> None:
    assert check(tmp_path / "no") == {
        "verdict": "refuse",
        "notices": [],
        "doubts": [],
        "errors": ["The study folder does not exist. Give the folder of the scans."],
    }


def test_a_file_in_place_of_the_folder_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "study.zip").write_bytes(b"")
    (refusal,) = check(tmp_path / "study.zip")["errors"]
    assert refusal == (
        "The study folder is a file. Give the folder of the scans; unzip an archive first."
    )


def test_a_folder_with_an_impossible_name_is_a_refusal(tmp_path: Path) -> None:
    (refusal,) = check(tmp_path / ("x" * 300))["errors"]
    assert refusal.startswith("The study folder cannot be opened (File name too long).")


def test_a_folder_that_may_not_be_read_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> None:  # root may read everything: no mode keeps it out
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    (refusal,) = check(tmp_path)["errors"]
    assert refusal.startswith("The study folder cannot be opened (Permission denied).")


def test_a_verdict_lists_what_speaks_against_the_scans_themselves(tmp_path: Path) -> None:
    thick = LPS @ np.diag([1, 1, 5, 1])
    scans = {m: nifti(scan(m), thick, tail=b"junk") for m in Modality}
    scans[T1], scans[T1CE] = scans[T1CE], scans[T1]
    found = check(folder_of({f"{m}.nii": data for m, data in scans.items()}, tmp_path))
    assert len(found["notices"]) == 6  # four repairs, one swap, thick slices
    (doubt,) = found["doubts"]
    assert "T1 looks like T1ce" in doubt


def test_two_files_for_one_modality_are_not_chosen_between(tmp_path: Path) -> None:
    folder_of({"DOE_t1.nii": b"", "DOE_t1.nii.gz": b""}, tmp_path)
    with pytest.raises(AmbiguousFileError, match=r"2 files could be T1 \(…t1.nii, …t1.nii.gz\)"):
        read_study_folder(tmp_path)


def test_files_that_differ_in_a_patient_s_name_alone_are_counted(tmp_path: Path) -> None:
    folder_of({"DOE_t1.nii": b"", "ROE_t1.nii": b"", "t1_C+.nii": b"", "t1 c.nii": b""}, tmp_path)
    said = (
        r"2 files could be T1 \(2 x …t1.nii\)\. 2 files could be T1ce \(2 x t1_c.nii\)\. Keep one"
    )
    with pytest.raises(AmbiguousFileError, match=said):
        read_study_folder(tmp_path)


def test_files_whose_names_leave_doubt_are_named_where_a_scan_is_missing(tmp_path: Path) -> None:
    files = {name: data for m, (name, data) in GOOD.items() if m is not T1CE}
    unclear = ["post_op_t1.nii.gz", "DOE.nii.gz", "ROE.nii.gz", "t1_t2.nii"]
    besides = ["case_seg.nii.gz", "adc.nii.gz", "readme.txt", "DICOMDIR"]
    folder_of({**files, **dict.fromkeys(unclear + besides, b"")}, tmp_path)
    (refusal,) = check(tmp_path)["errors"]
    assert refusal.startswith("This study lacks T1ce. Add the missing scan")
    assert refusal.endswith(
        " Left out, for their names state no modality or two: 2 x ….nii.gz, …post_t1.nii.gz, "
        "t1_t2.nii."
    )


@pytest.mark.parametrize("names", [["IM1", "IM2"], ["a/b/c/IM1"], ["T1_1.dcm", "T1_2.dcm"]])
def test_a_folder_of_dicom_files_is_to_be_converted(names: list[str], tmp_path: Path) -> None:
    folder_of(dict.fromkeys(names, corpus.dicom()), tmp_path)
    advice = "holds DICOM files: convert the series with dcm2niix."
    assert check(tmp_path)["errors"][0].endswith(advice)
    with pytest.raises(UserError, match=advice):
        find_scans(tmp_path)


def test_what_a_browser_or_an_office_left_beside_the_four_is_no_scan(tmp_path: Path) -> None:
    others = dict.fromkeys(["case_t1.nii.gz.crdownload", "notes_t1.docx", "t1.html"], b"")
    assert check(folder_of({**dict(GOOD.values()), **others}, tmp_path))["verdict"] == "accept"


def test_a_file_that_cannot_be_opened_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of(dict(GOOD.values()), tmp_path)

    def denied(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "cannot be opened" in check(tmp_path)["errors"][0]


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    folder_of(dict(GOOD.values()), tmp_path)
    os.truncate(tmp_path / "case_t1.nii.gz", 2**40)
    assert "too large (1,048,576 MB" in check(tmp_path)["errors"][0]


def test_neither_a_pipe_nor_a_folder_named_like_a_scan_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "case_t1.nii.gz")
    (tmp_path / "case_t2.nii.gz").mkdir()
    assert "lacks FLAIR, T1, T1ce and T2" in check(tmp_path)["errors"][0]


# ------------------------------------------------------------------------------------- real cases

SHARED = Path(__file__).parents[2] / "shared" / "data"
REAL = {
    "BraTS2021_00006": "accept",  # headers without extension
    "BraTS20_Training_001": "notice",  # AFNI extension
    "BRATS_001": "notice",  # MSD: RAS, float32
    "BraTSReg_002_00_0000": "accept",  # qform code 0
    "TCGA-FG-6692_coregistered": "accept",
    "TCGA-FG-6692": "refuse",  # four grids
}


@pytest.fixture(scope="session")
def real_cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("imagecodecs", reason="needed to unpack real cases")
    if not (SHARED / "unpack.py").is_file():
        pytest.skip("real cases are not beside this checkout")
    root = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, SHARED / "unpack.py", root, *REAL], check=True)
    return root


@pytest.mark.parametrize(("case", "verdict"), REAL.items())
def test_real_cases_pass_without_a_question(case: str, verdict: str, real_cases: Path) -> None:
    (folder,) = real_cases.glob(f"*/{case}")
    if verdict == "refuse":
        with pytest.raises(UserError, match=r"208 x 256 x 26(.|\n)*224 x 256 x 26"):
            read_study_folder(folder)
    else:
        assert not [n for n in read_study_folder(folder).notices if n.consent]
    assert check(folder)["verdict"] == verdict


def test_each_real_clinical_series_is_seen_to_have_a_skull(real_cases: Path) -> None:
    (folder,) = real_cases.glob("*/TCGA-FG-6692")
    notices = check(folder)["notices"]
    assert sum("skull" in n for n in notices) == 4
