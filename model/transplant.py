"""Other patients' lesions in the heads of those whose whole scans there are.

The cubes show the lesions of hundreds of patients and nothing around them, the heads are few.
Pasted into a head, on its intensity scale, a cohort's lesions are met among whole brains.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from model.dataset import SCALE, Cubes, Packed

MOST_CUBES = 3  # pasted into one head
PLACE_MM = 5.0  # standard deviation of where a lesion comes to lie, from where it grew
FADE = 6  # voxels over which a pasted cube takes over from the head


def pasted(case: Packed, cubes: Cubes, rng: np.random.Generator) -> Packed:
    """A head with cubes of other patients, each about where it was cut from in its own."""
    images, labels = np.array(case.images), np.array(case.labels)
    to_host = _host_codes(case.z_limits)
    for index in rng.integers(len(cubes.images), size=rng.integers(1, MOST_CUBES + 1)):
        cube, truth, centre = cubes.images[index], cubes.labels[index], cubes.centres_mm[index]
        if rng.random() < 0.5:
            cube, truth, centre = cube[::-1], truth[::-1], centre * (-1, 1, 1)
        box = _box(truth.shape, labels.shape, centre + rng.normal(0, PLACE_MM, 3))
        brain = (cube != 0).all(-1) & (images[box] != 0).all(-1)
        weight = np.where(brain, _faded(truth.shape), np.float32(0))
        for channel, table in enumerate(to_host):
            host = images[box][..., channel]
            host[:] = np.rint(host + weight * (table[cube[..., channel]] - host))
        labels[box] = np.where(weight > 0.5, truth, labels[box])
    return Packed(images, labels, case.z_limits)


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
