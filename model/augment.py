"""Training samples from packed cases: lesions pasted in, cut, turned, scaled, re-contrasted.

Intensities change through a table of 256 z-scores per modality, applied to the packed bytes: gain,
bend and shift then cost one look-up.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter, zoom
from scipy.spatial.transform import Rotation

from model.dataset import CUBE_SPACING_MM, SCALE, Cubes, Packed
from utils.labels import regions_of

Sample = tuple[NDArray[np.float32], NDArray[np.uint8]]
"""(i, j, k, 4) network input and (i, j, k, 3) region membership."""

MOST_CUBES = 3  # pasted into one head
PLACE_MM = 5.0  # standard deviation of where a cube is pasted, from where it was cut
FADE = 6  # voxels over which a pasted cube takes over from the head
TUMOUR_SHARE = 0.67
TURN_RADIANS = 0.25
LOG_SCALE = 0.2
TURN_SHARE, NOISE_SHARE, BLUR_SHARE, DROP_SHARE = 0.25, 0.2, 0.15, 0.06
# of z-scores: gain, bend (of the square) and shift, standard deviations; and the most noise
LOG_GAIN, BEND, SHIFT, NOISE = 0.15, 0.02, 0.2, 0.4


@dataclass(frozen=True, kw_only=True)
class Style:
    """What depends on where a sample comes from.

    Attributes
    ----------
    coarsened_share : float
        Share of samples blurred to the resolution of the lesion cubes.
    mirrored_axes : int
        Along how many axes, from the first, samples are mirrored half of the time.
    """

    coarsened_share: float = 0.0
    mirrored_axes: int = 1


def crop_sample(
    case: Packed, shape: tuple[int, int, int], rng: np.random.Generator, style: Style
) -> Sample:
    """A random box of a head, more often than not around some part of the tumour."""
    corner = _corner(case.labels, shape, rng)
    box = tuple(slice(max(c, 0), c + n) for c, n in zip(corner, shape, strict=True))
    images, labels = np.array(case.images[box]), np.array(case.labels[box])
    padding = [
        (-min(c, 0), n - got - -min(c, 0))
        for c, n, got in zip(corner, shape, labels.shape, strict=True)
    ]
    images, labels = np.pad(images, [*padding, (0, 0)]), np.pad(labels, padding)
    tables = [_contrasts(table, rng) for table in case.z_tables]
    scaled = np.stack([table[images[..., c]] for c, table in enumerate(tables)], axis=-1)
    regions = regions_of(labels).astype(np.uint8)
    if rng.random() < style.coarsened_share:
        scaled = _coarsened(scaled)
    if rng.random() < TURN_SHARE:
        scaled, regions = _turned(scaled, regions, _random_matrix(rng), shape)
    return _finished(scaled, regions, rng, style)


def pasted(case: Packed, cubes: Cubes, rng: np.random.Generator) -> Packed:
    """A head with lesions of other patients, each about where it grew in its own.

    They take on the head's intensity scale and fade into it at their borders, so that the network
    meets a cohort's lesions among whole brains.
    """
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


def _corner(
    labels: NDArray[np.uint8], shape: tuple[int, int, int], rng: np.random.Generator
) -> list[int]:
    """Where the crop starts; negative where it is larger than the head and is centred on it."""
    centre = None
    parts = np.flatnonzero(np.bincount(labels.ravel())[1:]) + 1
    if parts.size and rng.random() < TUMOUR_SHARE:  # a small part as often as a large one
        part = np.flatnonzero(labels == rng.choice(parts))
        centre = np.unravel_index(rng.choice(part), labels.shape)
    corner = []
    for axis, (size, n) in enumerate(zip(labels.shape, shape, strict=True)):
        if size <= n:
            corner.append((size - n) // 2)
        elif centre is None:
            corner.append(int(rng.integers(size - n + 1)))
        else:
            start = int(centre[axis]) - int(rng.integers(n // 4, 3 * n // 4))
            corner.append(int(np.clip(start, 0, size - n)))
    return corner


def _contrasts(z: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """(256,) z-scores of packed bytes under random gain, bend and shift."""
    table = z * np.exp(rng.normal(0, LOG_GAIN)) + rng.normal(0, BEND) * z**2 + rng.normal(0, SHIFT)
    if rng.random() < DROP_SHARE:
        table[:] = 0
    table[0] = 0
    table32: NDArray[np.float32] = table.astype(np.float32)
    return table32


def _coarsened(scaled: NDArray[np.float32]) -> NDArray[np.float32]:
    """What sampling at the cubes' spacing and back leaves of a box."""
    for axis, spacing in enumerate(CUBE_SPACING_MM):
        matrix = _there_and_back(scaled.shape[axis], spacing)
        scaled = np.moveaxis(np.tensordot(matrix, scaled, (1, axis)), 0, axis)
    return scaled


@cache
def _there_and_back(size: int, spacing: float) -> NDArray[np.float32]:
    """(size, size) matrix of linear sampling at `spacing` voxels and back again."""
    coarse = zoom(np.eye(size), (1 / spacing, 1), order=1, mode="nearest", grid_mode=True)
    back = (size / len(coarse), 1)
    fine: NDArray[np.float64] = zoom(coarse, back, order=1, mode="nearest", grid_mode=True)
    return fine.astype(np.float32)


def _random_matrix(rng: np.random.Generator) -> NDArray[np.float64]:
    """Rotation about the three axes times an isotropic scale."""
    angles = rng.uniform(-TURN_RADIANS, TURN_RADIANS, 3)
    turn: NDArray[np.float64] = Rotation.from_euler("xyz", angles).as_matrix()
    return turn * float(np.exp(rng.uniform(-LOG_SCALE, LOG_SCALE)))


def _turned(
    scaled: NDArray[np.float32],
    regions: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    shape: tuple[int, int, int],
) -> Sample:
    """Resample about the centre; `matrix` maps output voxels to input voxels."""
    offset = (np.array(scaled.shape[:3]) - 1) / 2 - matrix @ ((np.array(shape) - 1) / 2)
    images = [
        affine_transform(c, matrix, offset, shape, order=1) for c in np.moveaxis(scaled, -1, 0)
    ]
    masks = [
        affine_transform(c.astype(np.float32), matrix, offset, shape, order=1) > 0.5
        for c in np.moveaxis(regions, -1, 0)
    ]
    return np.stack(images, -1), np.stack(masks, -1).astype(np.uint8)


def _finished(
    scaled: NDArray[np.float32],
    regions: NDArray[np.uint8],
    rng: np.random.Generator,
    style: Style,
) -> Sample:
    """Mirror, blur and noise: what does not depend on where the sample came from."""
    if rng.random() < BLUR_SHARE:
        channel = int(rng.integers(4))
        scaled[..., channel] = gaussian_filter(scaled[..., channel], rng.uniform(0.4, 1.0))
    if rng.random() < NOISE_SHARE:
        noise = rng.standard_normal(scaled.shape, np.float32) * np.float32(rng.uniform(0, NOISE))
        scaled = np.where(scaled != 0, scaled + noise, 0)
    for axis in range(style.mirrored_axes):
        if rng.random() < 0.5:
            scaled, regions = np.flip(scaled, axis), np.flip(regions, axis)
    return np.ascontiguousarray(scaled, np.float32), np.ascontiguousarray(regions)
