"""Odd and hostile uploads, row by row, as one folder each.

Rows 1 to 44 and 46 of the table of odd inputs are `ROWS`, row 45 is `MASK_ROWS`; 47 are headers of
real data sets, 48 what the table does not name. The parts of a row that no single folder shows
have tests of their own: 33 (confirmed unit), 46 (interpolated reference) and masks on odd grids in
test_nifti.py and test_label_map.py; 37 (names with NUL or a path), 41 (all 24 orders) and 43 (two
against two) in test_intake.py; 36 (a name in nothing that leaves) in test_privacy.py.

``python tests/corpus.py FOLDER...`` judges folders, each in a process of its own with 1 GB and 5 s,
and writes one line of JSON for each.
"""

import gzip
import json
import os
import resource
import signal
import struct
import sys
import time
import traceback
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

SHAPE = (48, 48, 31)
LPS = np.array([[-1, 0, 0, 0], [0, -1, 0, 47], [0, 0, 1, 0], [0, 0, 0, 1.0]])
TISSUES = {  # air, CSF, grey, white, oedema, necrosis, enhancing
    "flair": (0, 100, 500, 400, 900, 300, 700),
    "t1": (0, 100, 500, 700, 400, 250, 480),
    "t1ce": (0, 110, 540, 760, 430, 270, 1500),
    "t2": (0, 1200, 550, 350, 900, 1000, 700),
}
CANARY = "DOE^JANE/MRN12345"

MEMORY_BYTES = 10**9
SECONDS = int(os.environ.get("CORPUS_SECONDS", "5"))

Files = dict[str, bytes | None]


@dataclass(frozen=True)
class Row:
    """One line of the table of odd inputs.

    Attributes
    ----------
    number : int
        Its number in the table.
    title : str
        What is odd.
    verdict : str
        ``"accept"``, ``"notice"`` or ``"refuse"``.
    says : str
        Regular expression that one notice or error must match; empty for accepted files.
    files : () -> dict of file name to content
        What differs from a good study; None removes a file.
    """

    number: int
    title: str
    verdict: str
    says: str
    files: Callable[[], Files]


# ------------------------------------------------------------------------------------- the phantom


def tissue_map(shift: int = 0, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.int64]:
    """Index into `TISSUES` of every voxel of an ellipsoid brain with ventricle and lesion."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    x, y, z = i - 23.5 - shift, j - 23.5, k - 15

    def ball(cx: float, cy: float, cz: float, *radii: float) -> NDArray[np.bool_]:
        a, b, c = radii
        inside: NDArray[np.bool_] = ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 + (
            (z - cz) / c
        ) ** 2 <= 1
        return inside

    tissue = np.zeros(shape, np.int64)
    tissue[ball(0, 0, 0, 19, 20, 13)] = 2
    tissue[ball(0, 0, 0, 15, 16, 10)] = 3
    tissue[ball(0, 0, 0, 5, 7, 4)] = 1
    tissue[ball(9, 4, 2, 5, 5, 5)] = 4
    tissue[ball(9, 4, 2, 3.5, 3.5, 3.5)] = 6
    tissue[ball(9, 4, 2, 2, 2, 2)] = 5
    return tissue


def scan(modality: str, shift: int = 0) -> NDArray[np.int16]:
    """(48, 48, 31) int16 scan of the phantom: noise in the brain, 0 around it."""
    tissue = tissue_map(shift)
    rng = np.random.default_rng(list(TISSUES).index(modality))
    noisy = np.array(TISSUES[modality])[tissue] + rng.normal(0, 25, SHAPE)
    values: NDArray[np.int16] = np.where(tissue > 0, noisy.clip(1), 0).astype(np.int16)
    return values


def labels() -> NDArray[np.uint8]:
    """(48, 48, 31) ground truth of the phantom."""
    mask: NDArray[np.uint8] = np.choose(tissue_map(), (0, 0, 0, 0, 2, 1, 4)).astype(np.uint8)
    return mask


def nifti(
    values: NDArray[Any], affine: NDArray[Any] = LPS, *, tail: bytes = b"", **fields: Any
) -> bytes:
    """Uncompressed NIfTI-1 bytes; `fields` are set last and unchecked, so that they can lie."""
    header = nib.Nifti1Header(endianness=fields.pop("endianness", "<"))
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    header.set_sform(affine, 1)
    header.set_qform(affine, 1)
    header.set_xyzt_units("mm")
    header["vox_offset"] = 352
    for name, value in fields.items():
        header[name] = value
    stored = values.astype(values.dtype.newbyteorder(header.endianness))
    return bytes(header.binaryblock) + b"\0" * 4 + stored.tobytes(order="F") + tail


def gz(data: bytes) -> bytes:
    """Compress reproducibly."""
    return gzip.compress(data, 1, mtime=0)


def good_study() -> Files:
    """Return four scans nobody could object to."""
    return {f"case_{m}.nii.gz": gz(nifti(scan(m))) for m in TISSUES}


def t1(**fields: Any) -> Callable[[], Files]:
    """Make a study whose T1 header has other fields."""
    return lambda: {"case_t1.nii.gz": gz(nifti(scan("t1"), **fields))}


def t1_values(change: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[], Files]:
    """Make a study whose T1 voxels were changed; stored as float32 unless `change` casts."""
    return lambda: {"case_t1.nii.gz": gz(nifti(change(scan("t1").astype(np.float32))))}


def t1_bytes(change: Callable[[bytes], bytes], *, plain: bool = False) -> Callable[[], Files]:
    """Make a study whose T1 file was changed as bytes, before or after compression."""
    if plain:
        return lambda: {"case_t1.nii.gz": gz(change(nifti(scan("t1"))))}
    return lambda: {"case_t1.nii.gz": change(gz(nifti(scan("t1"))))}


def t1_file(name: str, make: Callable[[], bytes]) -> Callable[[], Files]:
    """Make a study whose T1 comes under another name."""
    return lambda: {"case_t1.nii.gz": None, name: make()}


def all_scans(affine: NDArray[Any], **fields: Any) -> Callable[[], Files]:
    """Make a study of four scans on another grid."""
    return lambda: {
        f"case_{m}.nii.gz": gz(nifti(scan(m), np.asarray(affine, float), **fields)) for m in TISSUES
    }


# ------------------------------------------------------------------------------ what can be wrong


def rotated(degrees: float) -> NDArray[np.float64]:
    """LPS turned about the x axis."""
    turn = np.eye(4)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn[1:3, 1:3] = [[c, -s], [s, c]]
    turned: NDArray[np.float64] = turn @ LPS
    return turned


def moved(millimetres: float) -> NDArray[np.float64]:
    """LPS shifted along x."""
    affine = LPS.copy()
    affine[0, 3] += millimetres
    return affine


def sheared(cosine: float) -> NDArray[np.float64]:
    """LPS with the second axis leaning towards the first."""
    affine = LPS.copy()
    affine[0, 1] = cosine
    return affine


def both_forms(qform: NDArray[Any], sform: NDArray[Any], **fields: Any) -> Callable[[], Files]:
    """Make a study of scans whose two forms are these."""

    def files() -> Files:
        header = nib.Nifti1Header()
        header.set_qform(qform, 1)
        stated = {f: header[f] for f in ("quatern_b", "quatern_c", "quatern_d", "pixdim")}
        stated |= {f: header[f] for f in ("qoffset_x", "qoffset_y", "qoffset_z")}
        return {
            f"case_{m}.nii.gz": gz(nifti(scan(m), sform, **{**stated, **fields})) for m in TISSUES
        }

    return files


def zeros_bomb(start: bytes = b"") -> bytes:
    """3 MB of gzip that unpack to 3 GiB of zeros behind `start`."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(16 * 2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + head + block * 192 + end + bytes(8)


def dicom() -> bytes:
    """Start of a DICOM file."""
    return bytes(128) + b"DICM" + b"\x02\0\0\0UL\x04\0" + bytes(5000)


def zip_archive() -> bytes:
    """Start of a ZIP file."""
    return b"PK\x03\x04" + bytes(5000)


def nifti_2() -> bytes:
    """Write the T1 scan as NIfTI-2."""
    image = nib.Nifti2Image(scan("t1"), LPS)
    image.set_qform(LPS, 1)
    image.header.set_xyzt_units("mm")
    return bytes(image.to_bytes())


def extension(text: bytes, stated: int | None = None) -> Callable[[bytes], bytes]:
    """Put a comment extension between header and voxels, which may lie about its size."""
    size = 16 * -(-(len(text) + 8) // 16)

    def change(data: bytes) -> bytes:
        header = nib.Nifti1Header(data[:348], check=False)
        header["vox_offset"] = 352 + size
        lead = struct.pack("<4Bii", 1, 0, 0, 0, size if stated is None else stated, 6)
        body = lead + text.ljust(size - 8, b"\0")
        return bytes(header.binaryblock) + body + data[352:]

    return change


def with_gzip_fields(packed: bytes) -> bytes:
    """Give a gzip file every optional field: extra bytes, a name, a comment, a checksum."""
    head = b"\x1f\x8b\x08\x1e\0\0\0\0\0\x03\x06\0AB\x02\0xyDOE_JANE.nii\0comment\0"
    return head + struct.pack("<H", zlib.crc32(head) & 0xFFFF) + packed[10:]


def without_magic(data: bytes) -> bytes:
    """Turn the header into ANALYZE 7.5."""
    return data[:344] + bytes(4) + data[348:]


def with_skull(values: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Add noisy air and a bright scalp."""
    noise = np.abs(np.random.default_rng(seed).normal(0, 12, SHAPE)) + 1
    i, j, k = np.ogrid[:48, :48, :31]
    radius = np.sqrt(((i - 23.5) / 22) ** 2 + ((j - 23.5) / 23) ** 2 + ((k - 15) / 15) ** 2)
    scalp = (radius > 0.95) & (radius < 1.05)
    return np.where(scalp, 1500, np.where(values == 0, noise, values)).astype(np.float32)


def ct() -> NDArray[np.float32]:
    """CT of the phantom's head in Hounsfield units."""
    tissue = tissue_map()
    values = np.array((-1000, 5, 38, 28, 20, 10, 50))[tissue].astype(np.float32)
    noise = np.random.default_rng(7).normal(0, 5, SHAPE)
    return (values + noise).astype(np.float32)


def set_few(value: float, count: int = 5) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Overwrite some voxels in the middle of the brain."""

    def change(values: NDArray[Any]) -> NDArray[Any]:
        inside = np.flatnonzero(tissue_map() == 3)[:: max(1, 3000 // count)][:count]
        values.reshape(-1)[inside] = value
        return values

    return change


def set_background(value: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Overwrite everything outside the brain."""
    return lambda values: np.where(tissue_map() == 0, np.float32(value), values)


def z_scores(values: NDArray[Any]) -> NDArray[np.float32]:
    """Scale the brain to z-scores and set the air to -1.5, as some pipelines do."""
    return np.where(values == 0, -1.5, (values - 500) / 200).astype(np.float32)


def cast(dtype: str) -> Callable[[], Files]:
    """Make a study whose T1 is stored in another type."""
    factor = {"u1": 0.25, "i1": 0.125}.get(dtype, 1)
    return lambda: {"case_t1.nii.gz": gz(nifti((scan("t1") * factor).astype(dtype)))}


def interpolated_labels(values: NDArray[Any]) -> NDArray[np.float32]:
    """Ground truth after linear resampling."""
    mask = labels().astype(np.float32)
    for axis, part in enumerate((0.31, 0.43, 0.17)):
        mask = (1 - part) * mask + part * np.roll(mask, 1, axis)
    return mask


def cut_brain(values: NDArray[Any]) -> NDArray[Any]:
    """Remove nothing from the array but let it begin in the middle of the brain."""
    return np.ascontiguousarray(values[:, :, 14:])


REFUSE, NOTICE, ACCEPT = "refuse", "notice", "accept"
HTML = b"<!DOCTYPE html><html><head><title>Login</title></head></html>" * 20
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
INF, NAN = float("inf"), float("nan")


def mono(value: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Fill the whole volume with one value."""
    return lambda values: np.full_like(values, value)


ROWS = [
    Row(0, "a good study", ACCEPT, "", dict),
    Row(1, ".nii.gz that is not compressed", ACCEPT, "", t1_bytes(gzip.decompress)),
    Row(2, "gzip named .nii", ACCEPT, "", t1_file("case_t1.nii", lambda: gz(nifti(scan("t1"))))),
    Row(3, "gzip cut in the middle", REFUSE, "incomplete.*[Ss]end it again",
        t1_bytes(lambda b: b[: len(b) // 2])),
    Row(3, "gzip cut in its checksum", REFUSE, "incomplete", t1_bytes(lambda b: b[:-3])),
    Row(3, "gzip cut in the header", REFUSE, "incomplete", t1_bytes(lambda b: b[:60])),
    Row(4, "gzip with a flipped bit", REFUSE, "damaged|incomplete",
        t1_bytes(lambda b: b[:9000] + bytes([b[9000] ^ 4]) + b[9001:])),
    Row(4, "gzip with a wrong checksum", REFUSE, "damaged",
        t1_bytes(lambda b: b[:-8] + bytes([b[-8] ^ 1]) + b[-7:])),
    Row(5, "plain .nii cut", REFUSE, "incomplete",
        t1_file("case_t1.nii", lambda: nifti(scan("t1"))[:70_000])),
    Row(5, "plain .nii cut in the header", REFUSE, "incomplete",
        t1_file("case_t1.nii", lambda: nifti(scan("t1"))[:200])),
    Row(6, "bytes behind the voxels", NOTICE, "extra bytes", t1(tail=b"\0" * 512)),
    Row(6, "bytes behind the gzip stream", NOTICE, "extra bytes", t1_bytes(lambda b: b + b"junk")),
    Row(6, "gzip in two members", ACCEPT, "",
        t1_bytes(lambda b: gz(gzip.decompress(b)[:5000]) + gz(gzip.decompress(b)[5000:]))),
    Row(6, "half a million empty gzip members", REFUSE, "more than 10,000 pieces",
        t1_bytes(lambda b: gz(b"") * 500_000 + b)),
    Row(7, "0 bytes", REFUSE, "empty", t1_bytes(lambda _: b"")),
    Row(7, "a login page", REFUSE, "web page", t1_bytes(lambda _: HTML)),
    Row(7, "a git-LFS pointer", REFUSE, "git-LFS", t1_bytes(lambda _: LFS)),
    Row(7, "a ZIP archive", REFUSE, "ZIP.*[Uu]nzip", t1_bytes(lambda _: zip_archive())),
    Row(7, "DICOM", REFUSE, "DICOM.*dcm2niix", t1_bytes(lambda _: dicom())),
    Row(7, "DICOM inside gzip", REFUSE, "DICOM", t1_bytes(lambda _: gz(dicom()))),
    Row(7, "random bytes", REFUSE, "not a NIfTI",
        t1_bytes(lambda _: np.random.default_rng(0).bytes(5000))),
    Row(8, "gzip bomb of zeros", REFUSE, "not a NIfTI", t1_bytes(lambda _: zeros_bomb())),
    Row(8, "gzip bomb behind a small header", REFUSE, "unpacks to more",
        t1_bytes(lambda _: zeros_bomb(nifti(scan("t1"))))),
    Row(8, "gzip bomb behind a large header", REFUSE, "too large",
        t1_bytes(lambda _: zeros_bomb(nifti(scan("t1"), dim=[3, 1024, 1024, 1536, 1, 1, 1, 1])))),
    Row(9, "32767 voxels along each axis", REFUSE, "impossible size",
        t1(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])),
    Row(9, "more memory than a scan needs", REFUSE, "116 MB of voxels is too large",
        t1(dim=[3, 288, 280, 180, 1, 1, 1, 1], datatype=64, bitpix=64)),
    Row(10, "an axis of 0", REFUSE, "axis of 0", t1(dim=[3, 48, 0, 31, 1, 1, 1, 1])),
    Row(10, "a negative axis", REFUSE, "axis of -48", t1(dim=[3, 48, -48, 31, 1, 1, 1, 1])),
    Row(10, "9 dimensions", REFUSE, "9 dimensions", t1(dim=[9, 48, 48, 31, 1, 1, 1, 1])),
    Row(11, "more voxels announced than there", REFUSE, "incomplete",
        t1(dim=[3, 96, 96, 62, 1, 1, 1, 1])),
    Row(12, "voxels start at 0", REFUSE, "damaged", t1(vox_offset=0)),
    Row(12, "voxels start at 1e9", REFUSE, "damaged", t1(vox_offset=1e9)),
    Row(12, "voxels start at NaN", REFUSE, "damaged", t1(vox_offset=NAN)),
    Row(13, "datatype 0", REFUSE, "cannot be read.*magnitude", t1(datatype=0)),
    Row(13, "128-bit floats", REFUSE, "magnitude", t1(datatype=1536)),
    Row(13, "complex numbers", REFUSE, "complex.*magnitude",
        lambda: {"case_t1.nii.gz": gz(nifti(scan("t1").astype(np.complex64)))}),
    Row(14, "RGB", REFUSE, "colour", t1(datatype=128, bitpix=24)),
    *[Row(15, f"stored as {d}", ACCEPT, "", cast(d))
      for d in ("f8", "f4", "u1", "i1", "u2", "u4", "i4", "i8", "u8")],
    Row(15, "big-endian", ACCEPT, "", t1(endianness=">")),
    Row(16, "NIfTI-2", NOTICE, "NIfTI-2.*NIfTI-1", lambda: {"case_t1.nii.gz": gz(nifti_2())}),
    Row(16, "NIfTI-2 cut in the header", REFUSE, r"incomplete \(400 of 540 header bytes\)",
        t1_bytes(lambda _: nifti_2()[:400])),
    Row(16, "NIfTI-2 cut in its mark", REFUSE, r"incomplete \(7 of 540 header bytes\)",
        t1_bytes(lambda _: nifti_2()[:7])),
    Row(17, "ANALYZE", REFUSE, "left and right unknown", t1_bytes(without_magic, plain=True)),
    Row(17, "a .hdr of a .hdr/.img pair", REFUSE, "left and right", lambda: {
        "case_t1.nii.gz": None,
        "case_t1.hdr": nifti(scan("t1"), magic=b"ni1")[:348],
        "case_t1.img": scan("t1").tobytes(order="F")}),
    Row(17, "the .hdr of a NIfTI-2 pair", REFUSE, "half of a .hdr/.img pair; left and right",
        t1_bytes(lambda _: (nifti_2()[:4] + b"ni2" + nifti_2()[7:])[:540])),
    Row(17, "a bad magic", REFUSE, "left and right", t1(magic=b"foo")),
    Row(18, "slope 0", ACCEPT, "", t1(scl_slope=0)),
    Row(18, "slope NaN", ACCEPT, "", t1(scl_slope=NAN)),
    Row(18, "slope infinite", ACCEPT, "", t1(scl_slope=INF)),
    Row(18, "slope 2, intercept NaN", REFUSE, "intercept is nan", t1(scl_slope=2, scl_inter=NAN)),
    Row(19, "slope 2, intercept -1000", NOTICE, "air", t1(scl_slope=2, scl_inter=-1000)),
    Row(20, "slope 3e38", REFUSE, "too large", t1(scl_slope=3e38)),
    Row(21, "a few NaN", NOTICE, "set to 0", t1_values(set_few(NAN))),
    Row(21, "a few infinite", NOTICE, "set to 0", t1_values(set_few(INF))),
    Row(21, "background NaN", NOTICE, "set to 0", t1_values(set_background(NAN))),
    Row(21, "many NaN inside the brain", REFUSE, "no usable value", t1_values(set_few(NAN, 2000))),
    Row(22, "one voxel 1e30", NOTICE, "clipped", t1_values(set_few(1e30, 1))),
    Row(22, "one voxel -1e6", NOTICE, "clipped", t1_values(set_few(-1e6, 1))),
    Row(23, "all zero", REFUSE, "blank", t1_values(mono(0))),
    Row(23, "all 7", REFUSE, "blank", t1_values(mono(7))),
    Row(24, "label map in an image slot", REFUSE, "label map",
        lambda: {"case_t1.nii.gz": gz(nifti(labels()))}),
    Row(24, "brain mask in an image slot", REFUSE, "label map",
        t1_values(lambda v: (v > 0).astype(np.float32))),
    Row(25, "fourth axis of length 1", NOTICE, "fourth axis",
        lambda: {"case_t1.nii.gz": gz(nifti(scan("t1")[..., None]))}),
    Row(25, "four volumes", REFUSE, "4 volumes.*one 3-D volume",
        lambda: {"case_t1.nii.gz": gz(nifti(np.stack([scan(m) for m in TISSUES], -1)))}),
    Row(26, "a single slice", REFUSE, "too thin", t1_values(lambda v: v[:, :, 15])),
    Row(26, "ten slices", REFUSE, "too thin", t1_values(lambda v: v[:, :, 10:20])),
    Row(27, "both form codes 0", REFUSE, "orientation is unknown", t1(qform_code=0, sform_code=0)),
    Row(28, "only a qform", ACCEPT, "", t1(sform_code=0, srow_x=0, srow_y=0, srow_z=0)),
    Row(28, "only an sform", ACCEPT, "", t1(qform_code=0)),
    Row(29, "forms 35 mm apart", NOTICE, "sform was used", both_forms(moved(35), LPS)),
    Row(29, "forms 35 mm apart, sform aligned", NOTICE, "sform was used",
        both_forms(moved(35), LPS, sform_code=2)),
    Row(29, "forms that agree at 45 degrees", NOTICE, "tilted by 45", all_scans(rotated(45))),
    Row(29, "forms that differ in left and right", REFUSE, "left and right",
        both_forms(np.diag([-1, 1, 1, 1]) @ LPS, LPS)),
    Row(30, "sform zero", REFUSE, "singular", t1(srow_x=0, srow_y=0, srow_z=0)),
    Row(30, "sform singular", REFUSE, "singular", t1(srow_x=[0, -1, 0, 47])),
    Row(30, "sform NaN", REFUSE, "not finite", t1(srow_x=NAN)),
    Row(31, "sheared", REFUSE, "right angles.*[Rr]esample", all_scans(sheared(0.2), qform_code=0)),
    Row(31, "sheared by rounding", ACCEPT, "", all_scans(sheared(5e-5), qform_code=0)),
    Row(32, "quaternion longer than 1", REFUSE, "not a rotation",
        t1(quatern_b=0.9, quatern_c=0.9, quatern_d=0.9)),
    Row(32, "handedness 3.7", REFUSE, r"handedness \(pixdim\[0\]\) is 3\.7",
        t1(pixdim=[3.7, 1, 1, 1, 0, 0, 0, 0])),
    Row(32, "form code 77", REFUSE, "form code 77", t1(qform_code=77)),
    Row(32, "a patient 10 km away", REFUSE, "from the scanner",
        t1(qform_code=0, srow_x=[-1, 0, 0, 1e7])),
    Row(33, "pixdim contradicts the sform", REFUSE, "pixdim", t1(pixdim=[1, 2, 2, 2, 0, 0, 0, 0])),
    Row(33, "pixdim 0", REFUSE, "impossible", t1(pixdim=[1, 0, 1, 1, 0, 0, 0, 0])),
    Row(33, "pixdim negative", REFUSE, "impossible", t1(pixdim=[1, -1, 1, 1, 0, 0, 0, 0])),
    Row(33, "unit metres", REFUSE, "metres.*[Cc]onfirm that its voxels are 1 x 1 x 1 mm",
        t1(xyzt_units=1)),
    Row(33, "unit metres, and meant", REFUSE, "measures in metres.*[Cc]onvert",
        all_scans(np.diag([-1e-3, -1e-3, 1e-3, 1]), xyzt_units=1)),
    Row(33, "an unknown unit", REFUSE, r"unknown unit \(code 5\)", t1(xyzt_units=5)),
    Row(33, "unit not stated", ACCEPT, "", t1(xyzt_units=0)),
    Row(34, "stored as RAS", NOTICE, "RAS", all_scans(np.eye(4))),
    Row(34, "stored as PSR", NOTICE, "PSR",
        all_scans(np.array([[0, 0, 1, 0], [-1, 0, 0, 47], [0, 1, 0, 0], [0, 0, 0, 1]]))),
    Row(34, "oblique", NOTICE, "tilted by 20.*outside the training data", all_scans(rotated(20))),
    Row(35, "slices 5 mm thick", NOTICE, "outside the training data",
        all_scans(LPS @ np.diag([1, 1, 5, 1]))),
    Row(35, "voxels of 2 mm", NOTICE, "outside the training data",
        all_scans(LPS @ np.diag([2, 2, 2, 1]))),
    Row(36, "a patient's name in descrip", NOTICE, "header holds text", t1(descrip=CANARY)),
    Row(36, "a patient's name in aux_file", NOTICE, "header holds text", t1(aux_file=CANARY)),
    Row(36, "a patient's name in db_name", NOTICE, "header holds text", t1(db_name=CANARY)),
    Row(36, "a patient's name in an extension", NOTICE, "header holds text",
        t1_bytes(extension(CANARY.encode()), plain=True)),
    *[Row(37, f"a file named {n[:20]!r}", ACCEPT, "", t1_file(n, lambda: gz(nifti(scan("t1")))))
      for n in ("<img src=x onerror=alert(1)> t1.nii.gz", "\u202egz.iin t1.nii.gz",
                "\U0001f9e0 t1.nii.gz", "x" * 230 + "_t1.nii.gz", "DOE_JANE_MRN12345_t1.nii.gz",
                "![x](http://example.org)_t1.nii.gz".replace("/", ""), "T1.NII.GZ")],
    Row(38, "another shape", REFUSE, r"share one voxel grid(.|\n)*T2: 48 x 48 x 31",
        t1_values(lambda v: v[:40])),
    Row(38, "another spacing", REFUSE, r"2\.00 x 2\.00 x 2\.00 mm",
        lambda: {"case_t1.nii.gz": gz(nifti(scan("t1"), LPS @ np.diag([2, 2, 2, 1])))}),
    Row(39, "affines that differ by 0.001", ACCEPT, "",
        lambda: {"case_t1.nii.gz": gz(nifti(scan("t1"), moved(1e-3)))}),
    Row(39, "affines that differ by 4 mm", REFUSE, r"off by 4\.0 mm",
        lambda: {"case_t1.nii.gz": gz(nifti(scan("t1"), moved(4)))}),
    Row(39, "affines that differ by a flip", REFUSE, "share one voxel grid",
        lambda: {"case_t1.nii.gz": gz(nifti(scan("t1"), np.diag([-1, 1, 1, 1]) @ LPS))}),
    Row(40, "the same voxels twice", REFUSE, "same voxels",
        lambda: {"case_t1.nii.gz": gz(nifti(scan("t1ce"), descrip=b"other"))}),
    Row(41, "T1 and T1ce swapped", NOTICE, "wrong slots: T1 looks like T1ce", lambda: {
        "case_t1.nii.gz": gz(nifti(scan("t1ce"))), "case_t1ce.nii.gz": gz(nifti(scan("t1")))}),
    Row(41, "T2 and FLAIR swapped", NOTICE, "wrong slots: FLAIR looks like T2", lambda: {
        "case_t2.nii.gz": gz(nifti(scan("flair"))), "case_flair.nii.gz": gz(nifti(scan("t2")))}),
    Row(42, "T1 missing", REFUSE, "lacks T1\\.", lambda: {"case_t1.nii.gz": None}),
    Row(42, "a segmentation in place of T1", REFUSE, "lacks T1\\.", lambda: {
        "case_t1.nii.gz": None, "case_seg.nii.gz": gz(nifti(labels()))}),
    Row(42, "a segmentation beside the four", ACCEPT, "",
        lambda: {"case_seg.nii.gz": gz(nifti(labels()))}),
    Row(42, "an empty folder", REFUSE, "lacks FLAIR, T1, T1ce and T2",
        lambda: dict.fromkeys(good_study())),
    Row(42, "two files for T1", REFUSE, "2 files could be T1",
        lambda: {"case_t1.nii": nifti(scan("t1"))}),
    Row(43, "two patients mixed", REFUSE, "two patients",
        lambda: {"case_t1.nii.gz": gz(nifti(scan("t1", shift=4)))}),
    Row(44, "skull left on", NOTICE, "skull.*outside the training data", lambda: {
        f"case_{m}.nii.gz": gz(nifti(with_skull(scan(m).astype(np.float32), n)))
        for n, m in enumerate(TISSUES)}),
    Row(44, "skull left on one scan", NOTICE, "T2 scan.*skull", lambda: {
        "case_t2.nii.gz": gz(nifti(with_skull(scan("t2").astype(np.float32), 3)))}),
    Row(44, "CT", NOTICE, "CT.*outside the training data",
        lambda: {"case_t1.nii.gz": gz(nifti(ct()))}),
    Row(44, "image that begins inside the brain", NOTICE, "ends inside the brain", lambda: {
        f"case_{m}.nii.gz": gz(nifti(cut_brain(scan(m)))) for m in TISSUES}),
    Row(46, "interpolated label map in an image slot", REFUSE, "label map",
        t1_values(interpolated_labels)),
    *[Row(48, f"an extension that states {size} bytes", REFUSE, "header is damaged",
          t1_bytes(extension(b"x" * 56, size), plain=True)) for size in (0, 17, -5, 10**6)],
    Row(48, "an extension of 10 MB", NOTICE, "header holds text",
        t1_bytes(extension(b"x" * 10**7, 10**7 + 16), plain=True)),
    Row(48, "gzip with a wrong length", REFUSE, "damaged", t1_bytes(lambda b: b[:-4] + b"abcd")),
    Row(48, "gzip of an unknown method", REFUSE, "damaged",
        t1_bytes(lambda b: b[:2] + b"\x09" + b[3:])),
    Row(48, "gzip with all optional fields", ACCEPT, "", t1_bytes(with_gzip_fields)),
    Row(48, "gzip within gzip", REFUSE, "compressed twice", t1_bytes(gz)),
    Row(48, "gzip of nothing", REFUSE, "not a NIfTI", t1_bytes(lambda _: gz(b""))),
    Row(48, "zlib without gzip", REFUSE, "not a NIfTI",
        t1_bytes(lambda b: zlib.compress(gzip.decompress(b)))),
    Row(48, "unused dim 0 and 7", ACCEPT, "", t1(dim=[3, 48, 48, 31, 0, 7, 0, 1])),
    Row(48, "three volumes along the fifth axis", REFUSE, "3 volumes", lambda: {
        "case_t1.nii.gz": gz(nifti(np.stack([scan("t1")] * 3, -1)[:, :, :, None]))}),
    Row(48, "unused pixdim NaN", ACCEPT, "", t1(pixdim=[1, 1, 1, 1, NAN, NAN, INF, NAN])),
    Row(48, "handedness 0, which means 1", ACCEPT, "", t1(pixdim=[0, 1, 1, 1, 0, 0, 0, 0])),
    Row(48, "handedness 0, only a qform", ACCEPT, "",
        t1(sform_code=0, pixdim=[0, 1, 1, 1, 0, 0, 0, 0])),
    Row(48, "pixdim rounded", ACCEPT, "", all_scans(LPS, pixdim=[1, 1.001, 1.001, 1, 0, 0, 0, 0])),
    Row(48, "pixdim rounded, only an sform", ACCEPT, "",
        all_scans(LPS, qform_code=0, pixdim=[1, 1.001, 1.001, 1, 0, 0, 0, 0])),
    Row(48, "pixdim too far from the sform", REFUSE, "says 1.002 x 1.002 x 1 mm, the sform 1 x",
        all_scans(LPS, qform_code=0, pixdim=[1, 1.002, 1.002, 1, 0, 0, 0, 0])),
    Row(48, "handedness against the sform", REFUSE, "contradict",
        t1(pixdim=[-1, 1, 1, 1, 0, 0, 0, 0])),
    Row(48, "form code -1", REFUSE, "form code -1", t1(qform_code=-1)),
    Row(48, "only a qform, infinite", REFUSE, "not a rotation", t1(sform_code=0, quatern_b=INF)),
    Row(48, "only a qform, at NaN", REFUSE, "not finite", t1(sform_code=0, qoffset_x=NAN)),
    Row(48, "display range NaN", ACCEPT, "", t1(cal_max=NAN, cal_min=INF)),
    Row(48, "intent of a label map, voxels of a scan", ACCEPT, "", t1(intent_code=1002)),
    Row(48, "big-endian 64-bit integers", ACCEPT, "", lambda: {
        "case_t1.nii.gz": gz(nifti(scan("t1").astype("i8"), endianness=">"))}),
    Row(48, "air -5000", NOTICE, "air was stored as -5000", t1_values(lambda v: v - 5000)),
    Row(48, "air at the lowest 16-bit integer", NOTICE, "air was stored as -32768",
        t1_values(lambda v: np.where(v == 0, -32768, v).astype(np.int16))),
    Row(48, "a scan scaled to 0.001", ACCEPT, "", t1_values(lambda v: v * np.float32(1e-6))),
    Row(48, "a scan scaled to 1e-19", ACCEPT, "", t1_values(lambda v: v * np.float32(1e-19))),
    Row(48, "64-bit floats times 1e300", REFUSE, "numbers too large to be MR intensities",
        t1_values(lambda v: v.astype("f8") * 1e300)),
    Row(48, "64-bit floats times 1e36, dark voxels fit", REFUSE, "too large to be MR intensities",
        t1_values(lambda v: v.astype("f8") * 1e36)),
    Row(48, "z-scores, padded with NaN", NOTICE, "air was stored as -1.5",
        t1_values(lambda v: np.where(np.arange(48)[:, None, None] < 3, NAN, z_scores(v)))),
    Row(48, "nothing but NaN", REFUSE, "no voxel has a usable value", t1_values(mono(NAN))),
    Row(48, "nothing but NaN in the head", REFUSE, "no voxel has a usable value",
        t1_values(lambda v: np.where(v == 0, v, np.float32(NAN)))),
    Row(48, "two grey values", REFUSE, "label map",
        t1_values(lambda v: np.where(v > 400, 700, np.where(v > 0, 300, 0)))),
    Row(48, "half of the brain missing", REFUSE, "another outline",
        t1_values(lambda v: np.where(np.arange(48)[:, None, None] < 24, v, 0))),
    Row(48, "two files for FLAIR", REFUSE, "2 files could be FLAIR",
        lambda: {"case2_flair.nii.gz": gz(nifti(scan("flair", 1)))}),
    Row(48, "a fifth series", ACCEPT, "", lambda: {"case_dwi.nii.gz": gz(nifti(scan("flair", 1)))}),
    Row(48, "a name in decomposed Unicode", ACCEPT, "",
        t1_file("Mu\u0308ller_t1.nii.gz", lambda: gz(nifti(scan("t1"))))),
    Row(47, "header of BraTS 2020 (AFNI extension, slope NaN)", NOTICE, "header holds text",
        lambda: {f"case_{m}.nii.gz": gz(extension(b"<?xml")(nifti(scan(m), scl_slope=NAN)))
                 for m in TISSUES}),
    Row(47, "header of BraTSReg (qform code 0)", ACCEPT, "", all_scans(LPS, qform_code=0)),
    Row(47, "header of MSD (sform code 0, float32)", ACCEPT, "", lambda: {
        f"case_{m}.nii.gz": gz(nifti(scan(m).astype(np.float32), sform_code=0, scl_slope=NAN))
        for m in TISSUES}),
    Row(47, "header of BraTS 2021 (codes 2 and 1)", ACCEPT, "", all_scans(LPS, qform_code=2)),
]  # fmt: skip


MASK_ROWS = [  # row 45: numbers of a reference mask, and the codings they may be in
    ((1, 2, 4), ["BRATS_2020"]),
    ((1, 2, 3), ["BRATS_2023", "MSD"]),
    ((1, 2, 3, 4), []),
]


def mask_of(*numbers: int) -> bytes:
    """A reference mask whose lesion has a layer of each number."""
    values = np.zeros(SHAPE, np.uint8)
    for n, number in enumerate(numbers):
        values[20 + n, 20:25, 10:15] = number
    return gz(nifti(values))


def write_large_study(folder: Path) -> None:
    """Four clinical scans of 512 x 512 x 200 voxels, as large as they come."""
    folder.mkdir()
    shape = (512, 512, 200)
    tissue = tissue_map()[[i * 48 // 512 for i in range(512)]]
    tissue = tissue[:, [j * 48 // 512 for j in range(512)]]
    tissue = tissue[:, :, [k * 31 // 200 for k in range(200)]].astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 60, (64, 64, 200), dtype=np.int16)
    for modality, levels in TISSUES.items():
        values = np.array(levels, np.int16)[tissue]
        values += np.where(tissue > 0, np.tile(noise, (8, 8, 1)), np.int16(0))
        data = nifti(values.reshape(shape), LPS @ np.diag([0.45, 0.45, 0.8, 1]))
        (folder / f"case_{modality}.nii.gz").write_bytes(gz(data))
        noise = noise[::-1]


def write(row: Row, folder: Path) -> None:
    """Write one row's study into a folder."""
    folder.mkdir()
    for name, content in {**good_study(), **row.files()}.items():
        if content is not None:
            (folder / name).write_bytes(content)


# -------------------------------------------------------------------------------- the judge's side


def judge(folder: Path) -> dict[str, Any]:
    """Judge a folder in a child process that may use 1 GB and 5 s; imports are paid once."""
    reader, writer = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if not child:
        _judge_and_exit(folder, writer)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    _, status, usage = os.wait4(child, 0)
    return {
        "seconds": time.monotonic() - start,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "bytes": usage.ru_maxrss * 1024,
        "status": status,
        **json.loads(answer or "{}"),
    }


def _judge_and_exit(folder: Path, writer: int) -> None:
    from utils.intake import check

    signal.alarm(SECONDS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
    with os.fdopen(writer, "w") as pipe:
        try:
            json.dump(check(folder), pipe)
        except BaseException:  # noqa: BLE001  # the very thing the test looks for
            json.dump({"traceback": traceback.format_exc()}, pipe)
    os._exit(0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import utils.intake  # noqa: F401  # before forking

    for argument in sys.argv[1:]:
        sys.stdout.write(json.dumps(judge(Path(argument))) + "\n")
