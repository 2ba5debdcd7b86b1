"""A damaged file gives the very same voxels or a refusal; never other voxels, never a traceback."""

import gzip
import io
import zipfile

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.corpus import LPS, nifti
from utils.errors import UnreadableArchiveError, UserError
from utils.intake import unzip
from utils.nifti import read_nifti, write_labels
from utils.volume import Volume

VALUES = np.zeros((16, 16, 16), np.int16)
VALUES[2:14, 3:13, 2:14] = np.random.default_rng(0).integers(100, 900, (12, 10, 12))
WHOLE = gzip.compress(nifti(VALUES), 6, mtime=0)


def read(data: bytes) -> Volume | None:
    """Return the volume, or None for a refusal that names the scan."""
    try:
        return read_nifti(data, "t1")[0]
    except UserError as error:
        if not str(error).startswith("t1: "):
            raise
        return None


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut a file or flip one to eight of its bits."""
    if rng.random() < 0.3:
        return data[: rng.integers(0, len(data))]
    spoiled = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        spoiled[rng.integers(0, len(data))] ^= 1 << int(rng.integers(0, 8))
    return bytes(spoiled)


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_gzip_gives_identical_voxels_or_a_refusal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    accepted = 0
    for _ in range(100):
        volume = read(damaged(WHOLE, rng))
        if volume is None:
            continue
        accepted += 1
        np.testing.assert_array_equal(volume.values, VALUES)
        np.testing.assert_array_equal(volume.grid.affine, LPS)
    assert accepted < 20  # only flips in the gzip header's time stamp and the like change nothing


@pytest.mark.parametrize("seed", range(5))
def test_a_damaged_header_gives_a_volume_or_a_refusal_but_never_a_traceback(seed: int) -> None:
    rng = np.random.default_rng(seed)
    stored = nifti(VALUES)
    for _ in range(100):
        spoiled = damaged(stored[:352], rng)
        whole = spoiled + stored[352:] if len(spoiled) == 352 else spoiled
        volume = read(whole)
        if volume is None:
            continue
        assert np.isfinite(volume.values).all()
        assert abs(np.linalg.det(volume.grid.affine)) > 1e-3
        write_labels(np.ones(volume.grid.shape, np.uint8), volume.grid)


def test_a_header_with_random_fields_never_gives_a_traceback() -> None:
    rng = np.random.default_rng(0)
    stored = nifti(VALUES)
    for _ in range(300):
        head = bytearray(stored[:352])
        at = int(rng.integers(40, 328))
        head[at : at + 4] = rng.bytes(4)
        volume = read(bytes(head) + stored[352:])
        if volume is None:
            continue
        assert np.isfinite(volume.values).all()
        write_labels(np.ones(volume.grid.shape, np.uint8), volume.grid)


def odd_geometry(rng: np.random.Generator) -> bytes:
    """Header whose qform, sform and pixdim say nearly the same, in NIfTI-1 or NIfTI-2."""
    header = rng.choice([nib.Nifti1Header, nib.Nifti2Header])()
    header.set_data_dtype(np.int16)
    header.set_data_shape(VALUES.shape)
    turn = Rotation.from_euler("xyz", rng.choice([0, 1e-3, 0.05, 45, 90, 180, 20], 3), degrees=True)
    affine = np.eye(4)
    affine[:3, :3] = turn.as_matrix() * rng.choice([-1, 1], 3) * rng.uniform(0.4, 6, 3)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    header.set_qform(affine, int(rng.integers(6)))
    affine[:3, 3] += rng.choice([0, 0.05, 35]) * rng.uniform(-1, 1, 3)
    affine[:3, 1] += affine[:3, 0] * rng.choice([0, 1e-5])
    header.set_sform(affine, int(rng.integers(6)))
    header["pixdim"][1:4] = np.round(header["pixdim"][1:4], int(rng.integers(2, 7)))
    header["pixdim"][0] *= rng.choice([0, 1])
    header["vox_offset"] = header.sizeof_hdr + 4
    return bytes(header.binaryblock) + b"\0" * 4


def test_every_header_that_is_accepted_gives_a_mask_that_verifies() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros(VALUES.shape, np.uint8)
    labels[3:6, 4:9, 2:9] = 4
    accepted = 0
    for _ in range(600):
        volume = read(odd_geometry(rng) + VALUES.tobytes(order="F"))
        if volume is not None:
            accepted += 1
            write_labels(labels, volume.grid)
    assert accepted > 300


@pytest.mark.parametrize("method", ["STORED", "DEFLATED", "BZIP2", "LZMA"])
def test_a_damaged_zip_gives_the_very_same_files_or_a_refusal(method: str) -> None:
    rng = np.random.default_rng(0)
    packed = {"case_t1.nii": rng.bytes(1000), "case_t2.nii": bytes(3000)}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", getattr(zipfile, f"ZIP_{method}")) as archive:
        for name, content in packed.items():
            archive.writestr(zipfile.ZipInfo(name), content, archive.compression)
    for _ in range(2000):
        try:
            found = dict(unzip(damaged(stream.getvalue(), rng), "x.zip"))
        except UnreadableArchiveError:
            continue
        # a scan whose name was damaged may be left out: the study then lacks it
        assert found.items() <= packed.items()
