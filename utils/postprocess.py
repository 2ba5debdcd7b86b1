"""Network output to labels: thresholds, nesting, closed rings, no specks, nothing faint alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.grid import Grid
from utils.labels import Label, Region, labels_of
from utils.measure import lesion_map
from utils.segmentation import CERTAIN

# of a calibrated probability; half of the Dice to be had is what maximises it (Lipton et al. 2014,
# arXiv:1402.1892), and these networks have between .65 and .9
THRESHOLD = 0.4
SPECK_ML = 0.1  # a cube of 4.6 mm
# of core or enhancement within a lesion: 50 voxels of 1 mm, which BraTS 2023 does not count either
FOCUS_ML = 0.05
# of enhancement in all, dropped as Isensee et al. 2020 (arXiv:2011.00848) do: of the 361 patients
# whose lesions were trained on 26 have none, and only 8 have some, but less
ENHANCING_ML = 0.2
# a finding that is nowhere likelier is left out: most are healthy (EXPERIMENTS.md, 20)
SURE = (0.8, 0.8, 0.8)  # of each region
# but not the largest of these: of a tumour that is faint all over, and of a core, which may be
# unsure throughout because it is hard to tell from oedema
LARGEST_STAYS = {Region.WT, Region.TC}
MOST_SPECKS_LISTED = 5
# what a speck of a region counts as; outermost first, so that none is counted twice
_BENEATH = {Region.WT: Label.BACKGROUND, Region.TC: Label.ED, Region.ET: Label.NCR_NET}


def labels_and_specks(
    probabilities: NDArray[np.uint8], grid: Grid
) -> tuple[NDArray[np.uint8], tuple[float, ...]]:
    """Threshold, nest, close rings, and drop what is isolated and small or faint.

    Parameters
    ----------
    probabilities : (I, J, K, 3) uint8 array
        Of each region, in units of 1 / `CERTAIN`. A voxel belongs to ET only where it belongs to
        TC, and to TC only where it belongs to WT.
    grid : Grid
        Where they lie.

    Returns
    -------
    labels : (I, J, K) uint8 array
        Values of `utils.labels.Label`.
    specks_ml : tuple of float
        Volume of each finding that was dropped, largest first.
    """
    labels = np.zeros(probabilities.shape[:3], np.uint8)
    least = np.uint8(np.ceil(THRESHOLD * CERTAIN))  # a comparison of bytes, not of floats
    for box in ndimage.find_objects((probabilities[..., 0] >= least).view(np.uint8)):
        labels[box] = with_closed_rings(labels_of(probabilities[box] >= least))
    return _split(labels, probabilities, grid, SPECK_ML, SURE)


def steps_taken(specks_ml: Sequence[float]) -> tuple[str, ...]:
    """Say, for the provenance, what `labels_and_specks` did to a study."""
    return (
        f"a region wherever its probability is {THRESHOLD:g} or more",
        "what the tumour core encloses within a slice counted as its necrosis",
        _speck_step(specks_ml),
    )


def _speck_step(specks_ml: Sequence[float]) -> str:
    limits = (
        f"{SPECK_ML:g} mL (within a lesion {FOCUS_ML:g} mL, enhancing {ENHANCING_ML:g} mL in all) "
        f"or nowhere {SURE[0]:.0%} likely"
    )
    if not specks_ml:
        return f"no isolated finding below {limits} to leave out"
    volumes = ", ".join(f"{ml:.3f} mL" for ml in specks_ml[:MOST_SPECKS_LISTED])
    if len(specks_ml) > MOST_SPECKS_LISTED:
        volumes += ", smaller ones"
    findings = (
        "1 isolated finding" if len(specks_ml) == 1 else f"{len(specks_ml)} isolated findings"
    )
    return f"{findings} below {limits} left out: {volumes}"


def with_closed_rings(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels in which whatever the tumour core encloses belongs to it, as necrosis.

    Enclosed means: within a slice of any array axis. What lies inside an enhancing ring is dead
    tissue, even where the network took it for oedema.
    """
    core = Region.TC.mask(labels)
    if not core.any():
        return labels
    box = ndimage.find_objects(core.astype(np.uint8))[0]
    closed = np.zeros_like(core[box])
    for axis in range(3):
        within_slices = ndimage.generate_binary_structure(3, 1)
        within_slices.swapaxes(0, axis)[[0, 2]] = False
        closed |= _filled(core[box], within_slices)
    filled = labels.copy()
    filled[box][closed & ~core[box]] = Label.NCR_NET
    return filled


def _filled(mask: NDArray[np.bool_], neighbours: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill what the mask encloses, where only the given neighbours let a way out."""
    outside = np.pad(~mask, 1, constant_values=True)
    ways_out, _ = ndimage.label(outside, neighbours)
    edges = np.ones_like(outside)
    edges[1:-1, 1:-1, 1:-1] = False
    reached = np.isin(ways_out, np.unique(ways_out[edges & outside]))
    filled: NDArray[np.bool_] = ~(reached & outside)[1:-1, 1:-1, 1:-1]
    return filled


def without_specks(
    labels: NDArray[np.uint8],
    probabilities: NDArray[np.uint8],
    grid: Grid,
    smallest_ml: float = SPECK_ML,
    sure: Sequence[float] = SURE,
) -> NDArray[np.uint8]:
    """Labels without the 26-connected tumour components that are small or faint.

    Small is what is smaller than `smallest_ml`; of the core and of enhancement also what is smaller
    than `FOCUS_ML`, and enhancement of less than `ENHANCING_ML` in all. Faint is what is nowhere
    as probable as `sure`, but for the largest component of the tumour and of the core. What is
    dropped counts as what it lies in. If `smallest_ml` is 0, everything is kept.
    """
    return _split(labels, probabilities, grid, smallest_ml, sure)[0]


def _split(
    labels: NDArray[np.uint8],
    probabilities: NDArray[np.uint8],
    grid: Grid,
    smallest_ml: float,
    sure: Sequence[float],
) -> tuple[NDArray[np.uint8], tuple[float, ...]]:
    """What `without_specks` gives, and the volumes of the components that were dropped."""
    boxes = ndimage.find_objects((labels != Label.BACKGROUND).astype(np.uint8))
    if not boxes or not smallest_ml:
        return labels, ()
    kept, specks_ml = labels.copy(), []
    within, surely = kept[boxes[0]], probabilities[boxes[0]] >= np.array(sure) * CERTAIN
    for channel, (region, beneath) in enumerate(_BENEATH.items()):
        components = lesion_map(region.mask(within))
        voxels = np.bincount(components.ravel())
        volumes_ml = voxels * grid.voxel_volume_ml
        volumes_ml[0] = 0  # not a component but what surrounds them
        faint = np.bincount(components[surely[..., channel]], minlength=voxels.size) == 0
        if region in LARGEST_STAYS:
            faint[volumes_ml.argmax()] = False
        least_ml = smallest_ml if region is Region.WT else min(smallest_ml, FOCUS_ML)
        dropped = faint | (volumes_ml < least_ml)
        if region is Region.ET and volumes_ml[~dropped].sum() < ENHANCING_ML:
            dropped[:] = True
        dropped[0] = False
        within[dropped[components]] = beneath
        specks_ml += volumes_ml[dropped].tolist()
    return kept, tuple(sorted(specks_ml, reverse=True))
