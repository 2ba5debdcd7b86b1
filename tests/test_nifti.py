"""Bytes to volume and mask to bytes: nothing wrong gets in, and what goes out fits."""

import gzip
import itertools
import os
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from tests import corpus
from tests.corpus import CANARY, LPS, gz, moved, nifti, rotated, scan
from utils import nifti as gate
from utils import upload
from utils.errors import MaskNotVerifiedError, UnconfirmedUnitError, UnreadableVolumeError
from utils.grid import Grid
from utils.intake import read_scan
from utils.nifti import read_nifti, verify_labels, write_labels
from utils.study import Modality

ASYMMETRIC = np.zeros((24, 20, 18), np.int16)
ASYMMETRIC[2:20, 3:17, 2:16] = np.random.default_rng(0).integers(100, 900, (18, 14, 14))
TURNED = [
    (permutation, flips)
    for permutation in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def turned(
    values: NDArray[np.int16], affine: NDArray[np.float64], how: tuple[tuple[int, ...], ...]
) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Store the same anatomy in another axis order and direction."""
    order, flips = how
    ornt = np.array(list(zip(order, flips, strict=True)), float)
    stored = nib.orientations.apply_orientation(values, ornt)
    return stored, affine @ nib.orientations.inv_ornt_aff(ornt, values.shape)


def raw_fields(data: bytes) -> bytes:
    """dim, pixdim, form codes, quaternion, offset and srow as stored."""
    block = gzip.decompress(data)[:348] if data[:2] == b"\x1f\x8b" else data[:348]
    return block[40:56] + block[76:92] + block[252:328]


# --------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("how", TURNED, ids=str)
@pytest.mark.parametrize("world", [LPS, rotated(20) @ np.diag([1, 1.2, 2.5, 1])], ids=["1mm", "ob"])
def test_every_voxel_stays_at_its_place_in_the_patient_however_the_array_is_stored(
    how: tuple[tuple[int, ...], ...], world: NDArray[np.float64]
) -> None:
    stored, affine = turned(ASYMMETRIC, world, how)
    volume, _ = read_nifti(gz(nifti(stored, affine)), "t1")
    voxel = np.linalg.inv(affine) @ world @ [5, 7, 11, 1]  # one voxel that we follow
    i, j, k = np.round(voxel[:3]).astype(int)
    assert volume.values[i, j, k] == ASYMMETRIC[5, 7, 11]
    found = volume.grid.affine @ [i, j, k, 1]
    np.testing.assert_allclose(found, world @ [5, 7, 11, 1], atol=1e-3)


def test_voxels_are_the_scaled_stored_ones() -> None:
    volume, notices = read_nifti(gz(nifti(ASYMMETRIC, scl_slope=0.5, scl_inter=0)), "t1")
    np.testing.assert_array_equal(volume.values, ASYMMETRIC * 0.5)
    assert volume.values.dtype == np.float32
    assert not notices


def test_after_shifting_air_is_zero_and_differences_are_kept() -> None:
    volume, (notice,) = read_nifti(gz(nifti(ASYMMETRIC, scl_slope=2, scl_inter=-1000)), "t1")
    np.testing.assert_array_equal(volume.values, ASYMMETRIC * 2.0)
    assert notice.code == "air-shifted"
    assert not notice.consent


def test_few_missing_voxels_become_zero_and_the_rest_stays() -> None:
    values = ASYMMETRIC.astype(np.float32)
    values[10, 10, 10] = np.nan
    volume, (notice,) = read_nifti(gz(nifti(values)), "t1")
    expected = ASYMMETRIC.astype(np.float32)
    expected[10, 10, 10] = 0
    np.testing.assert_array_equal(volume.values, expected)
    assert "1 voxel " in notice.text


def test_an_outlier_becomes_the_brightest_of_the_rest() -> None:
    values = ASYMMETRIC.astype(np.float32)
    values[10, 10, 10] = 0
    brightest = values.max()
    values[10, 10, 10] = 1e30
    volume, (notice,) = read_nifti(gz(nifti(values)), "t1")
    assert volume.values[10, 10, 10] == brightest == volume.values.max()
    assert notice.code == "outliers"


def test_the_sform_holds_where_the_forms_differ() -> None:
    folder = corpus.both_forms(moved(35), LPS)()
    volume, (notice,) = read_nifti(folder["case_t1.nii.gz"] or b"", "t1")
    np.testing.assert_allclose(volume.grid.affine, LPS)
    assert notice.code == "forms-differ"


def test_a_label_map_is_read_as_stored_when_one_is_expected() -> None:
    volume, _ = read_nifti(gz(nifti(corpus.labels())), "seg", labels=True)
    np.testing.assert_array_equal(volume.values, corpus.labels())


def test_two_readers_that_disagree_on_voxels_are_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = gate._read_with_itk

    def lying(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
        values, affine = honest(path)
        values[10, 10, 10] += 1
        return values, affine

    monkeypatch.setattr(gate, "_read_with_itk", lying)
    with pytest.raises(UnreadableVolumeError, match="disagree on the voxel values"):
        read_nifti(gz(nifti(ASYMMETRIC)), "t1")


@pytest.mark.parametrize("reader", ["_read_with_itk", "_read_with_nibabel"])
def test_two_readers_that_disagree_on_left_and_right_are_a_refusal(
    reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = getattr(gate, reader)
    mirror = np.diag([-1, 1, 1, 1.0])

    def lying(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
        values, affine = honest(path)
        return values, mirror @ affine

    monkeypatch.setattr(gate, reader, lying)
    with pytest.raises(UnreadableVolumeError, match="disagree on where the scan lies"):
        read_nifti(gz(nifti(ASYMMETRIC)), "t1")


def test_a_file_that_itk_cannot_open_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(path: Path) -> None:
        raise RuntimeError("no ImageIO")

    monkeypatch.setattr(gate, "_read_with_itk", failing)
    with pytest.raises(UnreadableVolumeError, match="ITK cannot read it"):
        read_nifti(gz(nifti(ASYMMETRIC)), "t1")


def test_a_slope_of_0_with_an_intercept_is_refused_because_readers_disagree() -> None:
    with pytest.raises(UnreadableVolumeError, match="disagree on the voxel values"):
        read_nifti(gz(nifti(ASYMMETRIC, scl_slope=0, scl_inter=7)), "t1")


def test_two_scans_are_never_with_itk_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[Path] = []
    most = 0
    honest = gate._read_with_itk

    def counting(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
        nonlocal most
        inside.append(path)
        most = max(most, len(inside))
        time.sleep(0.1)
        inside.remove(path)
        return honest(path)

    monkeypatch.setattr(gate, "_read_with_itk", counting)
    with ThreadPoolExecutor(3) as readers:
        list(readers.map(read_nifti, [nifti(ASYMMETRIC)] * 3, ["t1"] * 3))
    assert most == 1


def test_the_scan_touches_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    honest = gate._read_with_itk

    def watching(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
        seen.append(path)
        assert path.is_symlink()
        assert os.readlink(path).startswith("/proc/")
        assert path.parent.stat().st_mode & 0o077 == 0
        return honest(path)

    monkeypatch.setattr(gate, "_read_with_itk", watching)
    read_nifti(gz(nifti(ASYMMETRIC)), "t1")
    assert seen
    assert not seen[0].parent.exists()


def test_without_anonymous_memory_a_private_file_serves_and_is_gone_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    seen: list[Path] = []
    honest = gate._read_with_itk

    def watching(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
        seen.append(path)
        assert path.parent.stat().st_mode & 0o077 == 0
        return honest(path)

    monkeypatch.setattr(gate, "_read_with_itk", watching)
    volume, _ = read_nifti(gz(nifti(ASYMMETRIC)), "t1")
    np.testing.assert_array_equal(volume.values, ASYMMETRIC)
    assert not seen[0].parent.exists()


def test_a_bomb_is_refused_after_its_first_mebibyte(monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked_bytes = 0
    honest = upload.zlib.decompressobj

    class Counting:
        def __init__(self, wbits: int) -> None:
            self._inner = honest(wbits=wbits)

        def decompress(self, data: bytes, length: int) -> bytes:
            nonlocal unpacked_bytes
            piece = self._inner.decompress(data, length)
            unpacked_bytes += len(piece)
            return piece

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

    bomb = corpus.zeros_bomb(nifti(ASYMMETRIC, dim=[3, 1024, 1024, 1536, 1, 1, 1, 1]))
    monkeypatch.setattr(upload.zlib, "decompressobj", Counting)
    with pytest.raises(UnreadableVolumeError, match="too large"):
        read_nifti(bomb, "t1")
    assert unpacked_bytes <= 2**20


def test_many_gzip_members_of_nothing_are_refused_within_a_second() -> None:
    start = time.process_time()
    with pytest.raises(UnreadableVolumeError, match="more than 10,000 pieces"):
        read_nifti(gz(b"") * 500_000 + gz(nifti(ASYMMETRIC)), "t1")
    assert time.process_time() - start < 1


def test_the_largest_scan_in_the_members_that_bgzip_writes_is_unpacked() -> None:
    member, count = gz(bytes(65_280)), 110_000_000 // 65_280
    with upload.unpacked(member * count, "t1", 65_280 * count) as (path, extra):
        assert path.stat().st_size == 65_280 * count
    assert extra == 0


# --------------------------------------------------------------------------------------- writing

LABELS = np.zeros(ASYMMETRIC.shape, np.uint8)
LABELS[4:9, 5:12, 3:8], LABELS[5:7, 6:9, 4:6], LABELS[7, 7, 5] = 2, 1, 4

UPLOADS = {
    "both forms": {},
    "only sform": {"qform_code": 0},
    "only qform": {"sform_code": 0, "srow_x": 7},
    "codes 2 and 1": {"qform_code": 2, "sform_code": 1},
    "qfac 0": {"pixdim": [0, 1, 1, 1, 0, 0, 0, 0]},
    "qfac 0, only sform": {"qform_code": 0, "pixdim": [0, 1, 1, 1, 0, 0, 0, 0]},
    "qfac 0, only qform": {"sform_code": 0, "pixdim": [0, 1, 1, 1, 0, 0, 0, 0]},
    "rounded pixdim": {"pixdim": [1, 1.002, 1, 1, 0, 0, 0, 0]},
    "rounded pixdim, only sform": {"qform_code": 0, "pixdim": [1, 1.002, 1, 1, 0, 0, 0, 0]},
    "NaN in an unused form": {"sform_code": 0, "srow_x": np.nan},
    "big-endian": {"endianness": ">"},
}


@pytest.mark.parametrize("fields", UPLOADS.values(), ids=UPLOADS)
@pytest.mark.parametrize("world", [LPS, rotated(20)], ids=["LPS", "oblique"])
def test_a_mask_repeats_the_geometry_of_the_scan_bit_for_bit(
    fields: dict[str, object], world: NDArray[np.float64]
) -> None:
    uploaded = nifti(ASYMMETRIC, world, **fields)
    grid = read_nifti(uploaded, "t1")[0].grid
    mask = write_labels(LABELS, grid)
    if "endianness" in fields:
        uploaded = nifti(ASYMMETRIC, world)
    assert raw_fields(mask) == raw_fields(uploaded)


def read_with_itk(data: bytes, path: Path) -> SimpleITK.Image:
    path.write_bytes(data)
    return SimpleITK.ReadImage(path)


def test_itk_calculates_with_a_scan_and_its_mask_where_pixdim_is_rounded(tmp_path: Path) -> None:
    rounded = {"qform_code": 0, "pixdim": [1, 0.4688, 0.4688, 5, 0, 0, 0, 0]}
    uploaded = nifti(ASYMMETRIC, np.diag([-0.46875, -0.46875, 5, 1]), **rounded)
    mask = write_labels(LABELS, read_nifti(uploaded, "t1")[0].grid)
    masked = SimpleITK.Mask(
        read_with_itk(uploaded, tmp_path / "scan.nii"),
        read_with_itk(mask, tmp_path / "mask.nii.gz"),
    )
    expected = np.where(LABELS > 0, ASYMMETRIC, 0)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(masked).T, expected)


def test_where_forms_differ_a_mask_repeats_both() -> None:
    uploaded = corpus.both_forms(moved(35), LPS)()["case_t1.nii.gz"] or b""
    grid = read_nifti(uploaded, "t1")[0].grid
    mask = write_labels(np.zeros(corpus.SHAPE, np.uint8), grid)
    assert raw_fields(mask) == raw_fields(uploaded)


def test_a_mask_of_a_nifti_2_scan_is_nifti_1_at_the_same_place() -> None:
    grid = read_nifti(corpus.nifti_2(), "t1")[0].grid
    mask = nib.Nifti1Image.from_bytes(gzip.decompress(write_labels(corpus.labels(), grid)))
    np.testing.assert_allclose(mask.affine, LPS)


def test_a_turn_that_nifti_1_rounds_away_does_not_refuse_a_nifti_2_scan() -> None:
    turn = np.radians(0.05)  # w squared is 2e-7; the far corner, 66 mm away, moves by 0.06 mm
    affine = LPS.copy()
    affine[:2, :2] = [[-np.cos(turn), np.sin(turn)], [-np.sin(turn), -np.cos(turn)]]
    image = nib.Nifti2Image(scan("t1"), None)
    image.set_qform(affine, 1)
    grid = read_nifti(image.to_bytes(), "t1")[0].grid
    mask = nib.Nifti1Image.from_bytes(gzip.decompress(write_labels(corpus.labels(), grid)))
    np.testing.assert_array_equal(mask.affine[:3, :3], np.diag([-1, -1, 1]))
    assert Grid(corpus.SHAPE, affine).displacement_mm(grid) == pytest.approx(0.058, abs=0.002)


def test_a_mask_is_plain_bytes_without_scaling_in_millimetres(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    grid = read_nifti(gz(nifti(ASYMMETRIC, scl_slope=2, scl_inter=-5)), "t1")[0].grid
    path.write_bytes(write_labels(LABELS, grid))
    image = nib.load(path)
    assert image.get_data_dtype() == np.uint8
    assert (image.dataobj.slope, image.dataobj.inter) == (1, 0)
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), LABELS)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path)).T, LABELS)


def test_the_same_mask_is_the_same_file() -> None:
    grid = Grid(LABELS.shape, LPS)
    first = write_labels(LABELS, grid)
    assert first == write_labels(LABELS.copy(order="F"), grid)
    assert first[4:8] == bytes(4)  # gzip's time stamp


def test_no_text_of_the_upload_is_in_a_mask() -> None:
    text = {"descrip": CANARY, "aux_file": CANARY, "db_name": CANARY, "intent_name": "DOE^JANE"}
    uploaded = corpus.extension(CANARY.encode())(nifti(ASYMMETRIC, **text))
    volume, notices = read_nifti(uploaded, f"{CANARY}.nii.gz")
    mask = gzip.decompress(write_labels(LABELS, volume.grid))
    assert b"DOE" not in mask
    assert b"MRN" not in mask
    assert b"research use only" in mask
    assert [n.code for n in notices] == ["header-text"]


def test_a_mask_of_ours_brings_no_text_to_be_told_of() -> None:
    mask = write_labels(LABELS, Grid(LABELS.shape, LPS))
    _, notices = read_nifti(mask, "segmentation.nii.gz", labels=True)
    assert notices == ()


def test_a_mask_on_a_grid_that_never_was_a_file_states_both_forms() -> None:
    world = rotated(20) @ np.diag([0.9, 1.1, 5, 1])
    mask = nib.Nifti1Image.from_bytes(
        gzip.decompress(write_labels(LABELS, Grid(LABELS.shape, world)))
    )
    for form in (mask.header.get_qform(coded=True), mask.header.get_sform(coded=True)):
        np.testing.assert_allclose(form[0], world, atol=1e-4)
        assert form[1] == 1


def test_labels_that_are_not_bytes_are_refused() -> None:
    with pytest.raises(MaskNotVerifiedError, match="float64"):
        write_labels(LABELS.astype(float), Grid(LABELS.shape, LPS))


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (lambda b: b[:-50] + b"\x04" + b[-49:], "its labels changed"),
        (lambda b: b[:280] + np.float32(-1.5).tobytes() + b[284:], "repeat the scan's"),
        (lambda b: b[:252] + b"\x03\0" + b[254:], "repeat the scan's"),
        (lambda b: b[:112] + np.float32(2).tobytes() + b[116:], "its labels changed"),
        (lambda b: b[:70] + b"\0\1\x08\0" + b[74:], "not stored as bytes"),
    ],
    ids=["a voxel", "the sform", "a code", "the slope", "the type"],
)
def test_a_mask_that_reads_back_differently_is_not_offered(spoil, finding: str) -> None:
    grid = read_nifti(nifti(ASYMMETRIC), "t1")[0].grid
    stored = gzip.decompress(write_labels(LABELS, grid))
    with pytest.raises(MaskNotVerifiedError, match=finding):
        verify_labels(gz(spoil(stored)), LABELS, grid)


@pytest.mark.parametrize(
    ("reader", "error"),
    [
        ("_read_with_itk", RuntimeError),
        ("_read_with_nibabel", HeaderDataError),
        ("_read_with_nibabel", ValueError),
    ],
)
def test_a_mask_that_cannot_be_read_back_is_not_offered(
    reader: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path) -> None:
        raise error

    monkeypatch.setattr(gate, reader, failing)
    with pytest.raises(MaskNotVerifiedError, match="cannot be read back"):
        write_labels(LABELS, Grid(LABELS.shape, LPS))


@pytest.mark.parametrize("reader", ["_read_with_itk", "_read_with_nibabel"])
def test_a_mask_that_one_reader_places_elsewhere_is_not_offered(
    reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = getattr(gate, reader)

    def lying(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
        values, affine = honest(path)
        return values, moved(1) @ np.linalg.inv(LPS) @ affine

    grid = Grid(LABELS.shape, LPS)
    monkeypatch.setattr(gate, reader, lying)
    with pytest.raises(MaskNotVerifiedError, match=r"moved by 1\.000 mm"):
        write_labels(LABELS, grid)


def test_millilitres_survive_the_file() -> None:
    world = rotated(20) @ np.diag([0.9, 1.1, 5, 1])
    grid = read_nifti(nifti(ASYMMETRIC, world), "t1")[0].grid
    assert grid.voxel_volume_ml == pytest.approx(0.9 * 1.1 * 5 / 1000)


def test_scan_and_reader_agree_on_the_phantom() -> None:
    volume, notices = read_nifti(gz(nifti(scan("flair"))), "flair")
    np.testing.assert_array_equal(volume.values, scan("flair"))
    assert not notices


@pytest.mark.parametrize("unit", [1, 3, 5], ids=["metres", "micrometres", "unknown"])
def test_a_false_unit_is_read_as_millimetres_only_once_somebody_has_confirmed_it(
    unit: int,
) -> None:
    data = nifti(scan("t1"), xyzt_units=unit)
    with pytest.raises(UnconfirmedUnitError, match="Confirm that its voxels are 1 x 1 x 1 mm"):
        read_nifti(data, "t1")
    volume, notices = read_nifti(data, "t1", millimetres=True)
    np.testing.assert_array_equal(volume.grid.affine, LPS)
    assert [n.code for n in notices] == ["unit"]


def test_confirming_millimetres_excuses_nothing_else() -> None:
    damaged = nifti(scan("t1"), xyzt_units=1, vox_offset=0)
    with pytest.raises(UnreadableVolumeError, match="damaged"):
        read_nifti(damaged, "t1", millimetres=True)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (scan("t1"), np.int16),
        (scan("t1").astype(np.float32), np.int16),  # whole numbers, whatever their type
        (scan("t1") * 0.5, np.float32),
        (scan("t1").astype(np.int32) * 100, np.float32),  # too large
    ],
)
def test_whole_numbers_are_kept_small_and_read_as_what_they_are(values, dtype) -> None:
    volume, _ = read_nifti(nifti(values), "t1")
    assert volume.stored.dtype == dtype
    assert volume.values.dtype == np.float32
    assert not volume.values.flags.writeable
    np.testing.assert_array_equal(volume.values, values)


def test_what_memory_cannot_hold_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("utils.nifti.repair", full)
    reading = read_scan(Modality.T1, "t1.nii", nifti(scan("t1")))
    assert reading.volume is None
    assert "not enough free memory" in str(reading.error)


@pytest.mark.parametrize(("slope", "times"), [(1, 3.2), (0.5, 5.2)])
def test_a_scan_is_never_held_in_a_larger_type_than_its_values_need(
    slope: float, times: float
) -> None:
    # own values and ITK's, or own and those that are not air with their mask: each as stored;
    # scaled ones as float32, but never the doubles that nibabel makes of them
    values = np.random.default_rng(0).integers(1, 2000, (128, 128, 96), dtype=np.int16)
    data = nifti(values, scl_slope=slope)
    tracemalloc.start()
    try:
        read_nifti(data, "t1")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < times * values.nbytes
