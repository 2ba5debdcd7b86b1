"""Other patients' lesions in the heads of those whose whole scans there are.

The cubes show the lesions of hundreds of patients and nothing around them, the heads are few. A
cube is pasted into a head as it is, or the tumour it was cut from is painted there as a whole.
Either takes on the head's intensity scale, so that the network meets a cohort's lesions among
whole brains.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from model.dataset import SCALE, Cubes, Packed
from utils.labels import Label
from utils.study import Modality

MOST_CUBES = 3  # pasted into one head
PLACE_MM = 5.0  # standard deviation of where a lesion comes to lie, from where it grew
FADE = 6  # voxels over which a pasted cube takes over from the head
SOFT = 1.0  # voxels, standard deviation of the blur of a painted tumour's border
FEWEST = 50  # voxels that tell how a part of a tumour looks


def pasted(case: Packed, cubes: Cubes, rng: np.random.Generator) -> Packed:
    """A head with cubes of other patients, each about where it was cut from in its own."""
    images, labels = np.array(case.images), np.array(case.labels)
    for index in rng.integers(len(cubes.images), size=rng.integers(1, MOST_CUBES + 1)):
        cube, truth, centre = cubes.images[index], cubes.labels[index], cubes.centres_mm[index]
        if rng.random() < 0.5:
            cube, truth, centre = cube[::-1], truth[::-1], centre * (-1, 1, 1)
        box = _box(truth.shape, labels.shape, centre + rng.normal(0, PLACE_MM, 3))
        brain = (cube != 0).all(-1) & (images[box] != 0).all(-1)
        weight = np.where(brain, _faded(truth.shape), np.float32(0))
        _blend(images[box], cube, weight, case.z_limits)
        labels[box] = np.where(weight > 0.5, truth, labels[box])
    return Packed(images, labels, case.z_limits)


def painted(case: Packed, cubes: Cubes, rng: np.random.Generator) -> Packed:
    """A head with the whole tumour of another patient, about where it grew in his own.

    Its shape is that of his label map. The cube that was cut from it gives the intensities: itself
    where it lay, and around it its mirror images, each voxel moved from the intensities of the
    label it has there to those of the label it stands for.
    """
    index = int(rng.integers(len(cubes.images)))
    cube, known, tumour = cubes.images[index], cubes.labels[index], cubes.tumours[index]
    truth, centre = tumour.labels, tumour.centre_mm
    levels = _levels(cube, known)
    if not set(np.unique(truth)) <= levels.keys() or any(
        np.greater(truth.shape, case.labels.shape)
    ):
        return pasted(case, cubes, rng)
    places = zip(truth.shape, tumour.cube_mm, known.shape, strict=True)
    mirrored = np.ix_(*(_mirrored(*place) for place in places))
    codes = _matched(cube[mirrored], known[mirrored], truth, levels)
    if rng.random() < 0.5:
        codes, truth, centre = codes[::-1], truth[::-1], centre * (-1, 1, 1)
    images, labels = np.array(case.images), np.array(case.labels)
    box = _box(truth.shape, labels.shape, centre + rng.normal(0, PLACE_MM, 3))
    brain = (images[box] != 0).all(-1)
    weight = np.where(brain, gaussian_filter((truth > 0).astype(np.float32), SOFT), 0)
    _blend(images[box], codes, weight, case.z_limits)
    labels[box] = np.where(brain & (truth > 0), truth, labels[box])
    return Packed(images, labels, case.z_limits)


def _levels(
    cube: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """(4,) mean and spread of the packed intensities of each label that a cube shows enough of."""
    inside = (cube != 0).all(-1)
    parts = {int(label): cube[inside & (labels == label)] for label in np.unique(labels)}
    return {
        label: (part.mean(0, np.float32), part.std(0, np.float32) + 1)
        for label, part in parts.items()
        if len(part) >= FEWEST
    }


def _matched(
    texture: NDArray[np.uint8],
    known: NDArray[np.uint8],
    wanted: NDArray[np.uint8],
    levels: dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]],
) -> NDArray[np.uint8]:
    """Packed intensities, each moved from those of its known label to those of the wanted one."""
    table = np.ones((max(Label) + 1, 2, len(Modality)), np.float32)
    for label, level in levels.items():
        table[label] = level
    deviation = np.clip((texture - table[known, 0]) / table[known, 1], -3, 3)
    deviation[~np.isin(known, list(levels))] = 0
    codes: NDArray[np.float32] = table[wanted, 0] + deviation * table[wanted, 1]
    return np.clip(codes.round(), 1, 255).astype(np.uint8)


def _mirrored(size: int, start: int, known: int) -> NDArray[np.intp]:
    """Which of `known` places, the first of them at `start`, stands for each of `size` places."""
    place = (np.arange(size) - start) % (2 * known)
    return np.minimum(place, 2 * known - 1 - place)


def _blend(
    host: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    weight: NDArray[np.float32],
    z_limits: NDArray[np.float64],
) -> None:
    """Bring packed z-scores into a part of a head, in place, on the head's scale."""
    for channel, table in enumerate(_host_codes(z_limits)):
        there = host[..., channel]
        there[:] = np.rint(there + weight * (table[codes[..., channel]] - there))


def _host_codes(z_limits: NDArray[np.float64]) -> NDArray[np.float32]:
    """(4, 256) packed intensities that a head would hold for the packed z-scores of a cube."""
    z = (np.arange(256) - 1) / SCALE * 12 - 4
    low, high = z_limits[..., None]
    scaled: NDArray[np.float64] = np.clip((z - low) / (high - low), 0, 1)
    return (1 + SCALE * scaled).astype(np.float32)


def _box(
    cube: tuple[int, ...], head: tuple[int, ...], centre: NDArray[np.float64]
) -> tuple[slice, ...]:
    """Where a cube comes to lie, its middle `centre` voxels from the head's, moved inside."""
    corners = np.rint((np.array(head) - cube) / 2 + centre).clip(0, np.subtract(head, cube))
    return tuple(slice(c, c + n) for c, n in zip(corners.astype(int).tolist(), cube, strict=True))


@cache
def _faded(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """1 inside a box, falling towards 0 at its faces."""
    ramps = [np.minimum(np.arange(n) + 1, n - np.arange(n)) / FADE for n in shape]
    weight: NDArray[np.float64] = np.minimum.reduce(np.meshgrid(*ramps, indexing="ij"))
    return np.minimum(weight, 1).astype(np.float32)
