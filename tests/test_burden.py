import numpy as np
import pytest

from utils.burden import burden
from utils.grid import Grid
from utils.labels import Label, Region

GRID = Grid((60, 60, 40), np.eye(4))


@pytest.fixture
def labels() -> np.ndarray:
    """One oedema with two enhancing foci, and one small core without oedema."""
    labels = np.zeros(GRID.shape, np.uint8)
    labels[2:40, 2:30, 5:25] = Label.ED
    labels[4:16, 4:24, 8:20] = Label.ET  # 12 x 20 mm
    labels[20:35, 4:16, 10:16] = Label.ET  # 15 x 12 mm
    labels[50:55, 50:58, 30:36] = Label.ET  # 5 x 8 mm: too small for RANO
    return labels


def test_every_focus_is_listed_under_its_own_lesion_and_letter(labels: np.ndarray) -> None:
    entries = burden(labels, GRID).entries
    assert [(e.name, e.region, e.part.voxels) for e in entries] == [
        ("1", Region.WT, 38 * 28 * 20),
        ("1a", Region.TC, 12 * 20 * 12),
        ("1b", Region.TC, 15 * 12 * 6),
        ("2", Region.WT, 5 * 8 * 6),
    ]
    assert [entry.foci for entry in entries] == [2, 0, 0, 0]
    assert entries[0].diameters is None  # they stand below
    assert entries[3].diameters is not None
    assert [e.title for e in entries[1:3]] == ["Lesion 1a, tumour core", "Lesion 1b, tumour core"]


def test_a_speck_in_the_oedema_has_no_line_and_takes_no_diameters_away(labels: np.ndarray) -> None:
    labels[20:35, 4:16, 10:16] = Label.ED
    labels[30:33, 20:23, 22:25] = Label.ET  # 27 microlitres
    found = burden(labels, GRID)
    assert [entry.name for entry in found.entries] == ["1", "2"]
    assert found.entries[0].diameters == found.foci[0].diameters
    assert found.name_of(Region.TC, 3) == "1"  # goes by its lesion's name


def test_a_part_has_one_name_by_whichever_number_it_is_asked_for(labels: np.ndarray) -> None:
    found = burden(labels, GRID)
    assert [found.name_of(Region.WT, n) for n in (1, 2)] == ["1", "2"]
    assert [found.name_of(Region.TC, n) for n in (1, 2, 3)] == ["1a", "1b", "2"]
    assert found.name_of(Region.ET, 1) == ""


def test_the_sum_counts_the_measurable_foci_of_a_shared_oedema_one_by_one(
    labels: np.ndarray,
) -> None:
    found = burden(labels, GRID)
    assert [focus.voxels for focus in found.measurable] == [12 * 20 * 12, 15 * 12 * 6]
    for focus, (a, b) in zip(found.measurable, [(12, 20), (15, 12)], strict=True):
        assert focus.diameters is not None
        assert focus.diameters.longest_mm == pytest.approx(np.hypot(a, b), abs=1.5)
    products = [focus.diameters.product_mm2 for focus in found.measurable if focus.diameters]
    assert found.product_sum_mm2 == pytest.approx(sum(products))


def test_a_head_without_tumour_has_no_burden() -> None:
    found = burden(np.zeros(GRID.shape, np.uint8), GRID)
    assert (found.entries, found.foci, found.product_sum_mm2) == ((), (), 0)
    assert set(found.volumes_ml.values()) == {0}


def test_oedema_alone_is_a_lesion_without_focus() -> None:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[5:15, 5:15, 5:15] = Label.ED
    found = burden(labels, GRID, midline_mm=30.0)
    (entry,) = found.entries
    assert entry.part.volumes_ml[Region.WT] == pytest.approx(1.0)
    assert (entry.diameters, found.foci) == (None, ())


def test_more_foci_than_letters_all_have_their_line() -> None:
    labels = np.full((60, 60, 6), Label.ED, np.uint8)
    for n in range(30):
        i, j = divmod(n, 6)
        labels[2 + 10 * i : 10 + 10 * i, 2 + 9 * j : 9 + 9 * j, 1:5] = Label.ET
    names = [entry.name for entry in burden(labels, Grid(labels.shape, np.eye(4))).entries]
    assert names[:2] == ["1", "1a"]
    assert names[26:] == ["1z", "1aa", "1ab", "1ac", "1ad"]
