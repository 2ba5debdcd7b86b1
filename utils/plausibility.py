"""What four readable scans say against being one visit of one patient in the right slots.

Thresholds were set on 31 real studies (28 BraTS cases, a follow-up pair, one clinical case): no
check speaks on any of them. Each constant says how far away they are.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.errors import ImplausibleStudyError
from utils.grid import Grid
from utils.intensity import faces_of
from utils.notice import Notice
from utils.study import Modality
from utils.volume import Volume

TRAINING_EXTENT_MM = (240, 240, 155)
"""Left-right, front-back and head-foot extent of every BraTS volume."""

PUT_BACK = frozenset({"spacing", "field-of-view"})
"""Codes of what is unlike the training data in the grid alone: the scans are resampled or cropped
for the network, and the result lies on the uploaded grid all the same."""

SPACING_TOLERANCE_MM = 0.05
"""How far from 1 mm a voxel may be before resampling changes what the network sees."""

TRAINING_TILT_DEGREES = 15.0
"""Training turns heads by no more than this about each axis (`model.augment`)."""

HEAD_ML = 2200.0
"""More than this is no brain: the 31 are 1,207 to 1,731 ml, a head with scalp is 3,000 and more."""

FACE_SHARE = 0.4
"""Share of the faces that is not air; below 0.01 in the 31, 0.83 and more with skull and noise."""

BRAIN_ML = 600.0
"""Less than this is no adult's brain: the 31 are 1,207 to 1,731 ml, 151 to 217 with voxels stated
half as long as they are."""

HEAD_VOXELS = 64
"""So many voxels of up to 3 mm a whole head fills along its longest axis. Smaller grids hold
phantoms, such as the 48 x 48 x 31 voxels of the odd inputs: whatever their volume, it is meant."""

SCALP_CONTRAST = 1.4
"""Outermost layer against the inside, as ratio of medians, in T1 and T1ce; at most 1 in the 31."""

CUT_SHARE = 0.3
"""A face's section of the brain against its largest; 0.13 at most in the 31 (the brain stem)."""

SAME_OUTLINE = 0.95
DIFFERENT_OUTLINE = 0.90
"""Intersection over union of two scans' brains: 0.966 and more within each of the 31; between two
patients, after the same atlas registration, 0.898 and less in all 464 pairs. In between the person
decides."""

MANY_VOXELS = 2_000_000
BRAIN_SAMPLES = 400_000
"""More voxels say no more about contrasts; the 31 have 125,000 to 184,000 once thinned."""

LEAST_SAMPLES = 500

SAME_PICTURE = 0.99
"""Rank correlation of two scans' brain voxels: at most 0.905 in the 31 (T1 and T1ce), 1 if one
series was saved twice, whatever its scale."""

CONTRAST_MARGIN = 0.6
CONTRAST_NOISE = 70.0
"""A better arrangement of the contrasts must lead by ``MARGIN + NOISE / sqrt(voxels)``. In the 31
the true arrangement is never behind by more than 0.02; of their 713 wrong ones 99 % are found. The
second term is what four scans of pure noise can reach."""


def scan_doubts(modality: Modality, scan: Volume, subject: str) -> tuple[Notice, ...]:
    """Reasons to think that one scan is not what the network was trained on; each needs consent."""
    head = scan.stored != 0
    if _has_skull(modality, scan, head):
        text = (
            f"{subject}: skull and scalp seem to be present; the network was trained on brains "
            "without them (outside the training data)."
        )
        return (Notice("skull", subject, text, consent=True),)
    if _is_cut(head):
        text = (
            f"{subject}: the image ends inside the brain, so its field of view is outside the "
            "training data; nothing is known about the part that is missing."
        )
        return (Notice("brain-cut", subject, text, consent=True),)
    return ()


def grid_notices(grid: Grid) -> tuple[Notice, ...]:
    """Tell what is unlike the training data in the grid that all scans share."""
    notices = []
    if max(abs(size - 1) for size in grid.spacing_mm) > SPACING_TOLERANCE_MM:
        size = " x ".join(f"{mm:.2g}" for mm in grid.spacing_mm)
        text = (
            f"Voxels of {size} mm are outside the training data (1 mm); the scans are resampled to "
            "1 mm and the result is put back on the uploaded grid."
        )
        notices.append(Notice("spacing", "study", text, consent=True))
    if any(e > t + 1 for e, t in zip(_extent_mm(grid), TRAINING_EXTENT_MM, strict=True)):
        extent = " x ".join(f"{mm:.0f}" for mm in _extent_mm(grid))
        text = (
            f"The field of view ({extent} mm) is outside the training data (240 x 240 x 155 mm); "
            "what lies outside the head is cropped."
        )
        notices.append(Notice("field-of-view", "study", text, consent=True))
    if grid.orientation != "LPS":
        text = (
            f"The scans are stored as {grid.orientation}, not as LPS like the training data; their "
            "axes are flipped or swapped for the network and the result is put back on the "
            "uploaded grid."
        )
        notices.append(Notice("orientation", "study", text))
    return (*notices, *_tilt_notices(_tilt_degrees(grid)))


def _tilt_notices(degrees: float) -> tuple[Notice, ...]:
    if degrees <= 0.1:
        return ()
    compared = "as it saw heads in training"
    if degrees > TRAINING_TILT_DEGREES:
        compared = "which is more than in training (outside the training data)"
    text = f"The scans are tilted by {degrees:.2g} degrees; the network sees them so, {compared}."
    return (Notice("tilt", "study", text),)


def brain_size_doubts(scans: Mapping[Modality, Volume]) -> tuple[Notice, ...]:
    """Ask about a head too small for an adult: its header probably states too small voxels."""
    grid = next(iter(scans.values())).grid
    brain_ml = min(np.count_nonzero(scan.stored) for scan in scans.values()) * grid.voxel_volume_ml
    if brain_ml >= BRAIN_ML or max(grid.shape) < HEAD_VOXELS:
        return ()
    text = (
        f"The brain would hold {brain_ml:.0f} mL (adults: 1,000 to 1,900), so its voxel size is "
        "probably wrong and every volume with it; check the spacing in the headers before you go "
        "on."
    )
    return (Notice("brain-size", "study", text, consent=True),)


def duplicate_errors(
    scans: Mapping[Modality, Volume], contrasts: "Contrasts | None"
) -> tuple[ImplausibleStudyError, ...]:
    """One error for each pair of slots that hold the same series."""
    return tuple(
        ImplausibleStudyError(
            f"{a.title} and {b.title} {found}: one series was chosen twice. "
            f"Choose the right file for {a.title} or for {b.title}."
        )
        for a, b in combinations(scans, 2)
        if (found := _sameness(a, b, scans, contrasts))
    )


def _sameness(
    a: Modality, b: Modality, scans: Mapping[Modality, Volume], contrasts: "Contrasts | None"
) -> str:
    """Tell in what two scans are the same; empty if in nothing."""
    if np.array_equal(scans[a].stored, scans[b].stored):
        return "hold the same voxels"
    likeness = contrasts.likeness_of(a, b) if contrasts else 0.0
    if likeness < SAME_PICTURE:
        return ""
    return f"are the same picture (rank correlation {likeness:.2f})"


def odd_outline(scans: Mapping[Modality, Volume]) -> tuple[Modality, float]:
    """Find the scan whose brain agrees least with the others, and the smallest overlap of any two.

    Overlap is intersection over union. One patient's four brains all agree; if the scans of two
    patients are mixed, one against three or two against two, some pair does not.
    """
    brains = {m: scan.stored != 0 for m, scan in scans.items()}
    overlaps: dict[Modality, list[float]] = {m: [] for m in scans}
    for a, b in combinations(brains, 2):
        union = np.count_nonzero(brains[a] | brains[b])
        overlap = np.count_nonzero(brains[a] & brains[b]) / union if union else 0.0
        overlaps[a].append(overlap)
        overlaps[b].append(overlap)
    odd = min(overlaps, key=lambda m: sum(overlaps[m]))
    return odd, min(overlaps[odd])


def likely_arrangement(scans: Mapping[Modality, Volume]) -> dict[Modality, Modality]:
    """Guess what each of four slots seems to hold; see `Contrasts.arrangement`."""
    contrasts = Contrasts.of(scans)
    return contrasts.arrangement() if contrasts else {}


class Contrasts:
    """Ranks of the scans' brain voxels against each other; computed once, asked 24 times.

    Attributes
    ----------
    slots : tuple of Modality
        The n scans, in the order of the arrays' axes.
    voxels : int
        How many voxels were compared.
    likeness : (n, n) float64 array
        Rank correlation of any two scans.
    """

    @classmethod
    def of(cls, scans: Mapping[Modality, Volume]) -> "Contrasts | None":
        """Compare the scans where all of them show brain; None where they share too little.

        A skull does no harm while one scan has none: what is not air in that one is the brain.
        """
        samples = _brain_samples(list(scans.values()))
        return cls(tuple(scans), samples) if samples.shape[1] >= LEAST_SAMPLES else None

    def __init__(self, slots: tuple[Modality, ...], samples: NDArray[np.float32]) -> None:
        self.slots, self.voxels = slots, samples.shape[1]
        order = samples.argsort(axis=1, kind="stable")
        ranks = np.empty_like(samples)
        steps = np.linspace(0, 1, samples.shape[1], dtype=np.float32)
        np.put_along_axis(ranks, order, steps[None], axis=1)
        self.likeness: NDArray[np.float64] = np.asarray(np.corrcoef(ranks))
        quarter, middle, three_quarters, top = np.percentile(samples, [25, 50, 75, 99.8], axis=1)
        self.tail = (top - middle) / np.maximum(three_quarters - quarter, 1e-9)
        # [i, j]: mean rank in scan j of the voxels darkest, brightest in scan i
        self.where_dark = np.array([ranks[:, dark].mean(axis=1) for dark in ranks < 0.05])
        self.where_bright = np.array([ranks[:, bright].mean(axis=1) for bright in ranks > 0.95])

    def likeness_of(self, a: Modality, b: Modality) -> float:
        """Rank correlation of two scans."""
        return float(self.likeness[self.slots.index(a), self.slots.index(b)])

    def arrangement(self) -> dict[Modality, Modality]:
        """Guess what each of four slots seems to hold; slots that seem right are left out.

        Four facts of neuroradiology are weighed against each other: T1 and T1ce resemble each
        other more than either does T2; contrast agent gives T1ce a bright tail that T1 lacks;
        fluid is dark in T1, dark in FLAIR and bright in T2.
        """
        where = [self.slots.index(m) for m in Modality]
        scores = {order: self.score(order) for order in permutations(where)}
        best = max(scores, key=scores.__getitem__)
        margin = CONTRAST_MARGIN + CONTRAST_NOISE / np.sqrt(self.voxels)
        if scores[best] - scores[tuple(where)] <= margin:
            return {}
        holds = {self.slots[i]: m for i, m in zip(best, Modality, strict=True)}
        return {slot: holds[slot] for slot in Modality if holds[slot] is not slot}

    def score(self, order: tuple[int, ...]) -> float:
        """Plausibility of scan ``order[i]`` being the i-th modality; each term saturates."""
        flair, t1, t1ce, t2 = order
        pairs = self.likeness[t1, t1ce] + self.likeness[flair, t2]
        crossed = max(
            self.likeness[t1, flair] + self.likeness[t1ce, t2],
            self.likeness[t1, t2] + self.likeness[t1ce, flair],
        )
        return float(
            2 * np.tanh((pairs - crossed) / 0.5)
            + np.tanh((self.tail[t1ce] - self.tail[t1]) / 0.8)
            + np.tanh((self.where_dark[t1, t2] - self.where_dark[t1, flair]) / 0.2)
            + 0.7 * np.tanh((0.5 - self.where_bright[t2, t1]) / 0.1)
            + 0.7 * np.tanh((0.5 - self.where_bright[t2, t1ce]) / 0.1)
        )


def _brain_samples(scans: Sequence[Volume]) -> NDArray[np.float32]:
    """One row a scan: values well inside the brain, where partial volume is rare."""
    step = 2 if scans[0].stored.size > MANY_VOXELS else 1
    thinned = [_thinned(scan, step) for scan in scans]
    brain = np.all([values != 0 for values in thinned], axis=0)
    brain = ndimage.binary_erosion(brain, iterations=2)
    every = np.count_nonzero(brain) // BRAIN_SAMPLES + 1
    return np.stack([values[brain][::every] for values in thinned])


def _thinned(scan: Volume, step: int) -> NDArray[np.float32]:
    """Every `step`-th voxel along each axis, as numbers to calculate with."""
    return scan.stored[::step, ::step, ::step].astype(np.float32)


def _has_skull(modality: Modality, scan: Volume, head: NDArray[np.bool_]) -> bool:
    volume_ml = np.count_nonzero(head) * scan.grid.voxel_volume_ml
    if volume_ml > HEAD_ML or faces_of(head).mean() > FACE_SHARE:
        return True
    return modality in (Modality.T1, Modality.T1CE) and _scalp_contrast(scan, head) > SCALP_CONTRAST


def _scalp_contrast(scan: Volume, head: NDArray[np.bool_]) -> float:
    """Median of the outermost layer over the median inside; fat makes a scalp bright in T1."""
    values, thinned = _thinned(scan, 2), head[::2, ::2, ::2]
    inside = ndimage.binary_erosion(thinned)
    layer = thinned & ~inside
    if not inside.any() or not layer.any():
        return 0.0
    middle = float(np.median(values[inside]))
    return float(np.median(values[layer])) / middle if middle > 0 else 0.0


def _is_cut(head: NDArray[np.bool_]) -> bool:
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        sections = np.count_nonzero(head, axis=others)
        if max(sections[0], sections[-1]) > CUT_SHARE * sections.max():
            return True
    return False


def _extent_mm(grid: Grid) -> tuple[float, float, float]:
    """Extent along left-right, front-back and head-foot, whatever the array order."""
    order = {"L": 0, "R": 0, "P": 1, "A": 1, "S": 2, "I": 2}
    lengths = [n * size for n, size in zip(grid.shape, grid.spacing_mm, strict=True)]
    by_direction = dict(zip((order[c] for c in grid.orientation), lengths, strict=True))
    return by_direction[0], by_direction[1], by_direction[2]


def _tilt_degrees(grid: Grid) -> float:
    """Largest angle between an array axis and the patient axis closest to it."""
    cosines = np.abs(grid.affine[:3, :3] / grid.spacing_mm).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines, 0, 1))).max())
