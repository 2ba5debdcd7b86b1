import numpy as np
import pytest

from utils.labels import Label, LabelCoding, Region, labels_of, regions_of

ALL = np.array([Label.BACKGROUND, Label.NCR_NET, Label.ED, Label.ET], np.uint8)


def test_regions_are_nested_as_brats_defines_them() -> None:
    assert Region.WT.mask(ALL).tolist() == [False, True, True, True]
    assert Region.TC.mask(ALL).tolist() == [False, True, False, True]
    assert Region.ET.mask(ALL).tolist() == [False, False, False, True]


def test_labels_survive_the_way_through_regions() -> None:
    np.testing.assert_array_equal(labels_of(regions_of(ALL)), [0, 1, 2, 4])


def test_a_voxel_outside_the_whole_tumour_is_background_whatever_else_was_predicted() -> None:
    contradictions = np.array([[0, 1, 1], [1, 0, 1], [0, 0, 1]], bool)
    assert labels_of(contradictions).tolist() == [0, Label.ED, 0]


@pytest.mark.parametrize(
    ("coding", "values", "expected"),
    [
        (LabelCoding.BRATS_2020, [0, 1, 2, 4], [0, 1, 2, 4]),
        (LabelCoding.BRATS_2023, [0, 1, 2, 3], [0, 1, 2, 4]),
        (LabelCoding.MSD, [0, 1, 2, 3], [0, 2, 1, 4]),
    ],
)
def test_every_coding_of_the_field_is_read(
    coding: LabelCoding, values: list[int], expected: list[int]
) -> None:
    assert coding.decode(np.array(values)).tolist() == expected


def test_a_value_foreign_to_the_coding_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[3\] do not exist in the coding BRATS_2020"):
        LabelCoding.BRATS_2020.decode(np.array([0, 3, 4]))


def test_an_interpolated_mask_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.5"):
        LabelCoding.BRATS_2020.decode(np.array([0.0, 1.5, 4.0]))


def test_colours_differ() -> None:
    assert len({label.colour for label in Label}) == len(Label)
