"""A damaged file gives the very same voxels or a refusal; never other voxels, never a traceback."""

import gzip

import numpy as np
import pytest

from tests.corpus import LPS, nifti
from utils.errors import UserError
from utils.nifti import read_nifti
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
