"""Corrections of bodies whose sizes are known on paper."""

import numpy as np
import pytest

from utils.correct import NO_EDITS, Edits, History, Removal, corrected, removals_of
from utils.grid import Grid
from utils.labels import Label, Region, regions_of
from utils.measure import lesions, region_volumes_ml
from utils.phantom import ellipsoid
from utils.postprocess import labels_and_specks
from utils.segmentation import CERTAIN, Provenance, Segmentation

GRID = Grid((60, 50, 40), np.eye(4))
MADE_BY = Provenance("fake", "0" * 64, "by hand", 1.0, steps=("reoriented",))
LARGE, SMALL = (slice(5, 25), slice(10, 30), slice(10, 20)), (slice(40, 50),) * 2 + (slice(20, 25),)
LARGE_ML, SMALL_ML = 4.0, 0.5  # 20 x 20 x 10 and 10 x 10 x 5 voxels of 1 mm


def segmentation(probabilities: np.ndarray, grid: Grid = GRID) -> Segmentation:
    stored = np.rint(probabilities * CERTAIN).astype(np.uint8)
    return Segmentation(labels_and_specks(stored, grid)[0], stored, grid, MADE_BY)


def nothing() -> np.ndarray:
    return np.zeros((*GRID.shape, 3))


@pytest.fixture
def two_boxes() -> Segmentation:
    """4 mL and 0.5 mL of oedema."""
    probabilities = nothing()
    probabilities[(*LARGE, 0)] = probabilities[(*SMALL, 0)] = 0.9
    return segmentation(probabilities)


@pytest.fixture
def noisy() -> Segmentation:
    rng = np.random.default_rng(0)
    blobs = rng.random((*GRID.shape, 3))
    blobs = (blobs + np.roll(blobs, 1, 0) + np.roll(blobs, 1, 1) + np.roll(blobs, 1, 2)) / 4
    return segmentation(blobs)


def whole_ml(found: Segmentation) -> float:
    return region_volumes_ml(found.labels, found.grid)[Region.WT]


def removal(found: Segmentation, number: int, region: Region = Region.WT) -> Removal:
    part = lesions(found.labels, found.grid, region)[number - 1]
    return removals_of([part], found.labels, region)[0]


def test_without_edits_the_mask_is_the_models_own(noisy: Segmentation) -> None:
    assert corrected(noisy, NO_EDITS) is noisy


def test_an_edit_that_changes_nothing_gives_the_models_mask_bit_for_bit(
    noisy: Segmentation,
) -> None:
    assert noisy.labels.any()
    # no threshold between 101 / 255 and 102 / 255 makes any difference to stored bytes
    edited = corrected(noisy, Edits(thresholds=(0.4, 0.4, 0.397)))
    np.testing.assert_array_equal(edited.labels, noisy.labels)


def test_removing_one_of_two_leaves_exactly_the_other(two_boxes: Segmentation) -> None:
    assert whole_ml(two_boxes) == pytest.approx(LARGE_ML + SMALL_ML)
    without_large = corrected(two_boxes, NO_EDITS.without([removal(two_boxes, 1)]))
    assert whole_ml(without_large) == pytest.approx(SMALL_ML)
    assert (without_large.labels[SMALL] == Label.ED).all()
    without_small = corrected(two_boxes, NO_EDITS.without([removal(two_boxes, 2)]))
    assert whole_ml(without_small) == pytest.approx(LARGE_ML)
    assert (without_small.labels[LARGE] == Label.ED).all()


def test_two_spheres_of_known_size_on_an_oblique_grid() -> None:
    affine = np.array([[-0.5, 0, 0, 20], [0, 0.8, -1.2, 0], [0, 0.6, 1.6, -20], [0, 0, 0, 1.0]])
    grid = Grid((80, 60, 40), affine)
    probabilities = np.zeros((*grid.shape, 3))
    probabilities[ellipsoid(grid, (10, 10, 10), (7, 7, 7)), 0] = 1
    probabilities[ellipsoid(grid, (-10, 10, 10), (5, 5, 5)), 0] = 1
    found = segmentation(probabilities, grid)
    assert whole_ml(found) == pytest.approx(4 / 3 * np.pi * (0.343 + 0.125), rel=0.02)
    left = corrected(found, NO_EDITS.without([removal(found, 1)]))
    assert whole_ml(left) == pytest.approx(4 / 3 * np.pi * 0.125, rel=0.03)
    (lesion,) = lesions(left.labels, grid)
    assert lesion.centroid_mm == pytest.approx((-10, 10, 10), abs=0.2)


def test_the_models_mask_is_kept_untouched(two_boxes: Segmentation) -> None:
    before = two_boxes.labels.copy()
    edited = corrected(two_boxes, NO_EDITS.without([removal(two_boxes, 1)]))
    np.testing.assert_array_equal(two_boxes.labels, before)
    assert edited.probabilities is two_boxes.probabilities
    assert two_boxes.provenance is MADE_BY


@pytest.mark.parametrize(
    ("least", "ml"), [(0.2, 4 + 1 + 2), (0.35, 4 + 1), (0.4, 4 + 1), (0.41, 4), (0.5, 4), (0.9, 4)]
)
def test_a_threshold_takes_exactly_the_voxels_from_it_on(least: float, ml: float) -> None:
    probabilities = nothing()
    probabilities[5:25, 10:30, 10:20, 0] = 0.95  # 4 mL
    probabilities[25:30, 10:30, 10:20, 0] = 0.4  # 1 mL
    probabilities[30:40, 10:30, 10:20, 0] = 0.3  # 2 mL
    edited = corrected(segmentation(probabilities), Edits(thresholds=(least, 0.5, 0.5)))
    assert whole_ml(edited) == pytest.approx(ml)


@pytest.mark.parametrize("thresholds", [(0.7, 0.5, 0.5), (0.5, 0.4, 0.3), (0.45, 0.6, 0.2)])
def test_regions_stay_nested_at_any_thresholds(
    noisy: Segmentation, thresholds: tuple[float, float, float]
) -> None:
    edited = corrected(noisy, Edits(thresholds))
    whole, core, enhancing = np.moveaxis(regions_of(edited.labels), -1, 0)
    assert (core <= whole).all()
    assert (enhancing <= core).all()
    least = np.rint(np.array(thresholds) * CERTAIN)
    assert (noisy.probabilities[enhancing] >= least).all()


def test_rings_are_closed_at_every_threshold() -> None:
    probabilities = nothing()
    probabilities[10:30, 10:30, 10:20, 0] = 0.9
    probabilities[10:30, 10:30, 10:20, 1:] = 0.35  # a ring that shows at a lower threshold only
    probabilities[14:26, 14:26, 10:20, 1:] = 0.1
    found = segmentation(probabilities)
    assert not Region.TC.mask(found.labels).any()
    edited = corrected(found, Edits(thresholds=(0.5, 0.3, 0.3)))
    assert (edited.labels[14:26, 14:26, 10:20] == Label.NCR_NET).all()
    assert (edited.labels == Label.ET).sum() == (20 * 20 - 12 * 12) * 10


def test_a_removed_lesion_stays_away_when_its_outline_moves(two_boxes: Segmentation) -> None:
    probabilities = two_boxes.probabilities / CERTAIN
    halo = probabilities[39:51, 40:50, 19:26, 0]  # 12 x 10 x 7 voxels around the 500 of the small
    np.maximum(halo, 0.3, out=halo)
    found = segmentation(probabilities)
    removed = (removal(found, 2),)
    assert whole_ml(corrected(found, Edits((0.29, 0.5, 0.5)))) == pytest.approx(LARGE_ML + 0.84)
    assert whole_ml(corrected(found, Edits((0.29, 0.5, 0.5), removed=removed))) == LARGE_ML
    assert whole_ml(corrected(found, Edits((0.95, 0.5, 0.5), removed=removed))) == 0


def test_a_removed_lesion_takes_none_of_its_neighbour_with_it_when_they_merge(
    two_boxes: Segmentation,
) -> None:
    probabilities = two_boxes.probabilities / CERTAIN
    probabilities[5:50, 28:41, 15:25, 0] = np.maximum(probabilities[5:50, 28:41, 15:25, 0], 0.3)
    found = segmentation(probabilities)
    edits = Edits(thresholds=(0.29, 0.5, 0.5))
    merged = corrected(found, edits)
    assert len(lesions(merged.labels, GRID)) == 1
    left = corrected(found, edits.without([removal(found, 2)]))
    assert whole_ml(left) == pytest.approx(whole_ml(merged) - SMALL_ML)
    assert (left.labels[LARGE] == Label.ED).all()


def test_a_core_that_was_none_becomes_oedema() -> None:
    probabilities = nothing()
    probabilities[(*LARGE, 0)] = 0.9
    probabilities[6:10, 12:16, 12:16, 1:] = 0.9
    probabilities[15:20, 12:22, 12:16, 1:] = 0.9
    found = segmentation(probabilities)
    edited = corrected(found, NO_EDITS.without([removal(found, 2, Region.TC)]))
    assert whole_ml(edited) == pytest.approx(LARGE_ML)
    assert (edited.labels == Label.ET).sum() == 5 * 10 * 4
    assert (edited.labels[6:10, 12:16, 12:16] == Label.ED).all()


def test_enhancement_alone_cannot_be_taken_out() -> None:
    with pytest.raises(ValueError, match="without its core"):
        Removal(Region.ET, 1.0, (0, 0, 0), b"")


@pytest.mark.parametrize(("smallest_ml", "ml"), [(0.0, 4.5), (0.5, 4.5), (0.6, 4.0), (5.0, 0.0)])
def test_what_is_smaller_than_asked_for_is_dropped(
    two_boxes: Segmentation, smallest_ml: float, ml: float
) -> None:
    assert whole_ml(corrected(two_boxes, Edits(smallest_ml=smallest_ml))) == pytest.approx(ml)


def test_a_smallest_size_of_nothing_shows_what_was_a_speck() -> None:
    probabilities = nothing()
    probabilities[5, 5, 5, 0] = 0.9
    found = segmentation(probabilities)
    assert not found.labels.any()
    assert corrected(found, Edits(smallest_ml=0.0)).labels.sum() == Label.ED


def test_holes_are_filled_with_oedema_and_bays_are_not() -> None:
    probabilities = nothing()
    probabilities[(*LARGE, 0)] = 0.9
    probabilities[10:14, 15:19, 12:16, 0] = 0  # enclosed
    probabilities[20:25, 15:19, 12:16, 0] = 0  # open to one side
    edited = corrected(segmentation(probabilities), Edits(fill_holes=True))
    assert (edited.labels[10:14, 15:19, 12:16] == Label.ED).all()
    assert not edited.labels[20:25, 15:19, 12:16].any()
    assert whole_ml(edited) == pytest.approx(LARGE_ML - 0.08)


def test_a_reader_who_lowers_a_threshold_sees_what_is_faint() -> None:
    probabilities = nothing()
    probabilities[10:30, 10:30, 10:30] = 0.9
    probabilities[40:50, 40:50, 30:40, 0] = 0.6  # 1 mL, nowhere as likely as it must be alone
    found = segmentation(probabilities)
    assert not found.labels[40:50].any()
    for threshold, seen in ((0.4, False), (0.5, False), (0.39, True)):
        edited = corrected(found, Edits(thresholds=(threshold, 0.4, 0.4), fill_holes=True))
        assert edited.labels[40:50, 40:50, 30:40].any() == seen


def test_the_provenance_names_every_edit_in_plain_words(two_boxes: Segmentation) -> None:
    edits = Edits((0.4, 0.3, 0.4), 0.3, True, (removal(two_boxes, 2),))
    made_by = corrected(two_boxes, edits).provenance
    assert made_by.steps == two_boxes.provenance.steps == ("reoriented",)
    assert made_by.corrections == (
        "tumour core counted from a probability of 30% instead of 40%",
        "holes in the tumour filled, as oedema",
        "removed whole tumour, 0.50 mL at (44, 44, 22) mm",
        "isolated findings below 0.3 mL dropped instead of 0.1 mL",
    )
    assert made_by.told[:2] == ("reoriented", f"corrected by the reader: {made_by.corrections[0]}")


def test_what_was_removed_can_be_put_back(two_boxes: Segmentation) -> None:
    first, second = removal(two_boxes, 1), removal(two_boxes, 2)
    edits = NO_EDITS.without([first, second])
    assert not corrected(two_boxes, edits).labels.any()
    assert edits.with_again(first).removed == (second,)
    assert edits.with_again(first).with_again(second) == NO_EDITS


def test_undo_and_redo_walk_through_the_edits() -> None:
    one, two = Edits(fill_holes=True), Edits(smallest_ml=1.0)
    history = History().do(one).do(two)
    assert history.undo().present == one
    assert history.undo().undo().present == NO_EDITS
    assert history.undo().undo().redo().redo() == history
    assert history.undo().undo().undo().present == NO_EDITS
    assert history.redo() == history


def test_a_new_edit_forgets_what_was_undone_and_the_same_edit_is_none() -> None:
    history = History().do(Edits(fill_holes=True)).undo().do(Edits(smallest_ml=1.0))
    assert not history.future
    assert history.do(Edits(smallest_ml=1.0)) is history


@pytest.mark.parametrize("impossible", [{"thresholds": (0.5, 0.0, 0.5)}, {"smallest_ml": -1.0}])
def test_impossible_edits_are_refused(impossible: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="got"):
        Edits(**impossible)  # type: ignore[arg-type]
