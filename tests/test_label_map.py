"""Masks from elsewhere: what their numbers mean is known, asked for, or refused; never guessed."""

import numpy as np
import pytest

from utils.errors import UnreadableVolumeError
from utils.grid import Grid
from utils.label_map import CODING_TITLES, LabelMap, coding_text, read_label_map
from utils.labels import LabelCoding
from utils.nifti import write_labels

GRID = Grid((16, 17, 20), np.diag([-1.0, -1, 1, 1]))


def stored(*numbers: int) -> bytes:
    values = np.zeros(GRID.shape, np.uint8)
    for n, number in enumerate(numbers):
        values[2, 2, n] = number
    return write_labels(values, GRID)


def read(*numbers: int) -> LabelMap:
    return read_label_map(stored(*numbers), "Reference mask")


def test_the_number_4_can_only_be_the_older_brats_coding() -> None:
    found = read(1, 2, 4)
    assert found.codings == (LabelCoding.BRATS_2020,)
    assert found.safe_coding is LabelCoding.BRATS_2020
    assert found.labels(LabelCoding.BRATS_2020)[2, 2, :4].tolist() == [1, 2, 4, 0]


def test_1_to_3_may_be_two_codings_that_swap_oedema_and_necrosis() -> None:
    found = read(1, 2, 3)
    assert found.codings == (LabelCoding.BRATS_2023, LabelCoding.MSD)
    assert found.safe_coding is None
    assert found.labels(LabelCoding.BRATS_2023)[2, 2, :3].tolist() == [1, 2, 4]
    assert found.labels(LabelCoding.MSD)[2, 2, :3].tolist() == [2, 1, 4]


def test_1_and_2_alone_are_no_safe_guess_either() -> None:
    assert read(1, 2).safe_coding is None
    assert len(read(1, 2).codings) == 3


def test_enhancement_alone_as_3_reads_alike_in_both_codings_that_have_it() -> None:
    assert read(3).safe_coding is LabelCoding.BRATS_2023


def test_an_empty_mask_needs_no_choice() -> None:
    found = read()
    assert found.present == frozenset()
    assert found.safe_coding is not None
    assert not found.labels(found.safe_coding).any()


@pytest.mark.parametrize("numbers", [(3, 4), (1, 5), (1, 2, 3, 4)])
def test_numbers_of_no_coding_are_refused_by_name(numbers: tuple[int, ...]) -> None:
    with pytest.raises(UnreadableVolumeError, match=f"Reference mask: .*{numbers[-1]}"):
        read(*numbers)


def test_an_interpolated_mask_is_refused() -> None:
    values = np.zeros(GRID.shape, np.uint8)
    values[2:5, 2:5, 2:5] = 2
    data = bytearray(_float_file(values * 0.75))
    with pytest.raises(UnreadableVolumeError, match="no label numbers"):
        read_label_map(bytes(data), "Reference mask")


def test_a_scan_is_no_mask() -> None:
    values = np.random.default_rng(0).integers(0, 200, GRID.shape).astype(np.uint8)
    with pytest.raises(UnreadableVolumeError, match="and more"):
        read_label_map(write_labels(values, GRID), "Reference mask")


def test_noise_is_no_mask() -> None:
    grid = Grid((32, 32, 32), GRID.affine)
    values = np.zeros(grid.shape, np.uint8)
    values[::2, ::2, ::2] = 1  # 4,096 voxels that do not touch
    with pytest.raises(UnreadableVolumeError, match="4,096 separate parts"):
        read_label_map(write_labels(values, grid), "Reference mask")


def test_what_is_no_nifti_is_refused_as_a_scan_would_be() -> None:
    with pytest.raises(UnreadableVolumeError, match="Reference mask"):
        read_label_map(b"GIF89a not a mask", "Reference mask")


def test_a_coding_is_spelt_out() -> None:
    assert coding_text(LabelCoding.MSD) == (
        "1 oedema, 2 necrotic and non-enhancing core, 3 enhancing tumour"
    )


def test_each_coding_bears_the_years_of_its_releases() -> None:
    assert CODING_TITLES[LabelCoding.BRATS_2020].startswith("BraTS 2017 to 2021")
    assert CODING_TITLES[LabelCoding.BRATS_2023].startswith("BraTS 2023")
    assert "Decathlon" in CODING_TITLES[LabelCoding.MSD]


def test_the_map_cannot_be_changed() -> None:
    assert not read(1, 2, 4).numbers.flags.writeable


def _float_file(values: np.ndarray) -> bytes:
    import nibabel as nib

    image = nib.Nifti1Image(values.astype(np.float32), GRID.affine)
    image.header.set_xyzt_units("mm")
    return image.to_bytes()
