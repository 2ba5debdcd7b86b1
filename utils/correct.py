"""A reader's corrections of a mask, from the stored probabilities: the network does not run again.

What a reader changes is written down as `Edits`; the mask follows from them and from what the model
said, so that every change can be taken back and none depends on the order they were made in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.grid import Grid
from utils.labels import Label, Region, labels_of
from utils.measure import Lesion, Point, lesion_map
from utils.postprocess import SPECK_ML, SURE, THRESHOLD, with_closed_rings, without_specks
from utils.segmentation import CERTAIN, Segmentation

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_LEFT_BEHIND = {Region.WT: Label.BACKGROUND, Region.TC: Label.ED}


@dataclass(frozen=True)
class Removal:
    """A lesion that the reader took out.

    Attributes
    ----------
    region : Region
        WT: nothing is left in its place. TC: it was oedema and no core.
    volume_ml : float
        Its size when it was removed.
    centroid_mm : (x, y, z)
        Its mean position in RAS+ world space.
    voxels : bytes
        Its flat (C order) voxel indices, int32; as bytes, so that edits compare and hash.

    Raises
    ------
    ValueError
        If the region is one that cannot be taken out by itself.
    """

    region: Region
    volume_ml: float
    centroid_mm: Point
    voxels: bytes

    def __post_init__(self) -> None:
        if self.region not in _LEFT_BEHIND:
            raise ValueError(f"{self.region.title} cannot be removed without its core")

    @property
    def title(self) -> str:
        """Region, size and place, in words."""
        place = ", ".join(f"{mm:.0f}" for mm in self.centroid_mm)
        return f"{self.region.title.lower()}, {self.volume_ml:.2f} mL at ({place}) mm"

    @property
    def indices(self) -> NDArray[np.int32]:
        """(n,) flat voxel indices."""
        return np.frombuffer(self.voxels, np.int32)


def removals_of(parts: Sequence[Lesion], labels: Labels, region: Region) -> list[Removal]:
    """Take out lesions that `utils.measure.lesions` found in these labels for this region."""
    numbered = lesion_map(region.mask(labels))
    return [
        Removal(
            region,
            part.volume_ml,
            part.centroid_mm,
            np.flatnonzero(numbered == part.number).astype(np.int32).tobytes(),
        )
        for part in parts
    ]


@dataclass(frozen=True)
class Edits:
    """Everything in which a corrected mask departs from the model's own.

    Attributes
    ----------
    thresholds : (WT, TC, ET) floats
        Least probability of each `Region`, in its definition order.
    smallest_ml : float
        Isolated findings below are dropped.
    fill_holes : bool
        Whether what the tumour encloses on all sides belongs to it, as oedema.
    removed : tuple of Removal
        Lesions taken out by hand.

    Raises
    ------
    ValueError
        If a threshold is not between 0 and 1, or the smallest size is negative.
    """

    thresholds: tuple[float, float, float] = (THRESHOLD, THRESHOLD, THRESHOLD)
    smallest_ml: float = SPECK_ML
    fill_holes: bool = False
    removed: tuple[Removal, ...] = ()

    def __post_init__(self) -> None:
        if not all(0 < threshold < 1 for threshold in self.thresholds):
            raise ValueError(f"thresholds lie between 0 and 1, got {self.thresholds}")
        if not self.smallest_ml >= 0:
            raise ValueError(f"the smallest size is 0 mL or more, got {self.smallest_ml}")

    @property
    def told(self) -> tuple[str, ...]:
        """What was changed, in plain words, for the provenance."""
        told = [
            f"{region.title.lower()} counted from a probability of "
            f"{threshold:.0%} instead of {THRESHOLD:.0%}"
            for region, threshold in zip(Region, self.thresholds, strict=True)
            if threshold != THRESHOLD
        ]
        if self.fill_holes:
            told.append("holes in the tumour filled, as oedema")
        told += [f"removed {removal.title}" for removal in self.removed]
        if self.smallest_ml != SPECK_ML:
            told.append(
                f"isolated findings below {self.smallest_ml:g} mL dropped "
                f"instead of {SPECK_ML:g} mL"
            )
        return tuple(told)

    def without(self, removals: Sequence[Removal]) -> "Edits":
        """Take out more lesions."""
        return replace(self, removed=(*self.removed, *removals))

    def with_again(self, removal: Removal) -> "Edits":
        """Put a removed lesion back."""
        return replace(self, removed=tuple(r for r in self.removed if r != removal))


NO_EDITS = Edits()


@dataclass(frozen=True)
class History:
    """Edits, and the way back and forth between them."""

    past: tuple[Edits, ...] = ()
    present: Edits = NO_EDITS
    future: tuple[Edits, ...] = ()

    def do(self, edits: Edits) -> "History":
        """Make a change; what had been undone is forgotten."""
        return self if edits == self.present else History((*self.past, self.present), edits)

    def undo(self) -> "History":
        """Step back; unchanged at the beginning."""
        if not self.past:
            return self
        return History(self.past[:-1], self.past[-1], (self.present, *self.future))

    def redo(self) -> "History":
        """Step forward again; unchanged at the end."""
        if not self.future:
            return self
        return History((*self.past, self.present), self.future[0], self.future[1:])


def corrected(segmentation: Segmentation, edits: Edits) -> Segmentation:
    """Make the corrected segmentation.

    Parameters
    ----------
    segmentation : Segmentation
        The model's own; stays as it is.
    edits : Edits
        What to change.

    Returns
    -------
    Segmentation
        The same probabilities and grid; its provenance names every edit. Without edits, the
        model's own, not a copy.
    """
    if edits == NO_EDITS:
        return segmentation
    return replace(
        segmentation,
        labels=_labels(segmentation.probabilities, segmentation.grid, edits),
        provenance=replace(segmentation.provenance, corrections=edits.told),
    )


def _labels(probabilities: NDArray[np.uint8], grid: Grid, edits: Edits) -> Labels:
    """Do what `utils.postprocess.labels_and_specks` does, with the reader's own numbers."""
    least = np.array(edits.thresholds) * CERTAIN
    labels = with_closed_rings(labels_of(probabilities >= least))
    if edits.fill_holes:
        labels = _with_filled_holes(labels)
    for region in _LEFT_BEHIND:
        removed = [removal.indices for removal in edits.removed if removal.region is region]
        if removed:
            labels = _without(labels, region, np.concatenate(removed))
    # who asks for what is less probable gets it, however faint
    sure = [s if t >= THRESHOLD else t for s, t in zip(SURE, edits.thresholds, strict=True)]
    return without_specks(labels, probabilities, grid, edits.smallest_ml, sure)


def _with_filled_holes(labels: Labels) -> Labels:
    """Labels in which whatever the whole tumour encloses on all sides is oedema."""
    filled = labels.copy()
    for box in ndimage.find_objects((labels != Label.BACKGROUND).astype(np.uint8)):  # at most one
        inside = ndimage.binary_fill_holes(labels[box] != Label.BACKGROUND)
        filled[box][inside & (labels[box] == Label.BACKGROUND)] = Label.ED
    return filled


def _without(labels: Labels, region: Region, indices: NDArray[np.int32]) -> Labels:
    """Labels without these voxels of a region, and without lesions that mostly consist of them.

    The latter because a removed lesion has another outline at another threshold. If it has grown
    together with one that was not removed, only its own voxels go.
    """
    gone = np.zeros(labels.shape, np.bool_)
    gone.ravel()[indices] = True  # a view: fresh arrays lie in C order
    found = lesion_map(region.mask(labels))
    sizes = np.bincount(found.ravel())
    mostly_gone = 2 * np.bincount(found[gone], minlength=sizes.size) > sizes
    emptied = (found > 0) & (gone | mostly_gone[found])
    return np.where(emptied, np.uint8(_LEFT_BEHIND[region]), labels)
