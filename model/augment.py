"""Training samples from packed cases and cubes: crops, turned, scaled, re-contrasted.

Intensities change through a table of 256 entries per modality, applied to the packed bytes: gamma,
brightness and contrast then cost one look-up.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter
from scipy.spatial.transform import Rotation

from model.dataset import SCALE, Cubes, Packed
from utils.labels import regions_of

Sample = tuple[NDArray[np.float32], NDArray[np.uint8]]
"""(i, j, k, 4) network input and (i, j, k, 3) region membership."""

CUBE_SHAPE = (64, 64, 48)  # mm; a lesion cube spans 60 x 60 x 39 mm
TUMOUR_SHARE = 0.67
TURN_RADIANS = 0.25
LOG_SCALE = 0.2
TURN_SHARE, NOISE_SHARE, BLUR_SHARE, DROP_SHARE = 0.25, 0.2, 0.15, 0.04


def crop_sample(case: Packed, shape: tuple[int, int, int], rng: np.random.Generator) -> Sample:
    """A random box of a head, more often than not around some part of the tumour."""
    corner = _corner(case.labels, shape, rng)
    box = tuple(slice(max(c, 0), c + n) for c, n in zip(corner, shape, strict=True))
    images, labels = np.array(case.images[box]), np.array(case.labels[box])
    padding = [
        (-min(c, 0), n - got - -min(c, 0))
        for c, n, got in zip(corner, shape, labels.shape, strict=True)
    ]
    images, labels = np.pad(images, [*padding, (0, 0)]), np.pad(labels, padding)
    scaled = _looked_up(images, [_contrast(_identity(), rng) for _ in range(4)])
    regions = regions_of(labels).astype(np.uint8)
    if rng.random() < TURN_SHARE:
        scaled, regions = _turned(scaled, regions, _random_matrix(rng), shape)
    return _finished(scaled, regions, rng)


def cube_sample(cubes: Cubes, z_limits: NDArray[np.float64], rng: np.random.Generator) -> Sample:
    """A lesion cube at about its true size, MinMax-scaled with the limits of some real head."""
    index = int(rng.integers(len(cubes.images)))
    z = (np.arange(256) - 1) / SCALE * 12 - 4
    low, high = z_limits
    tables = []
    for channel in range(4):
        table = np.clip((z - low[channel]) / (high[channel] - low[channel]), 0, 1)
        tables.append(_contrast(table, rng))
    scaled = _looked_up(cubes.images[index], tables)
    regions = regions_of(cubes.labels[index]).astype(np.uint8)
    to_cube = _random_matrix(rng) / np.array(cubes.spacing_mm)[:, None]
    return _finished(*_turned(scaled, regions, to_cube, CUBE_SHAPE), rng)


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


def _identity() -> NDArray[np.float64]:
    return np.maximum(np.arange(256) - 1, 0) / SCALE


def _contrast(table: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Random gamma, contrast and brightness on a look-up table; outside the brain stays 0."""
    gamma = np.exp(rng.normal(0, 0.2))
    contrast = np.exp(rng.normal(0, 0.12))
    changed: NDArray[np.float64] = np.clip(table**gamma * contrast + rng.normal(0, 0.04), 0, 1.2)
    if rng.random() < DROP_SHARE:  # a missing scan must degrade the result gently
        changed[:] = 0
    changed[0] = 0
    table32: NDArray[np.float32] = changed.astype(np.float32)
    return table32


def _looked_up(images: NDArray[np.uint8], tables: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.stack([t[images[..., c]] for c, t in enumerate(tables)], axis=-1)


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
    scaled: NDArray[np.float32], regions: NDArray[np.uint8], rng: np.random.Generator
) -> Sample:
    """Mirror, blur and noise: what does not depend on where the sample came from."""
    if rng.random() < BLUR_SHARE:
        channel = int(rng.integers(4))
        scaled[..., channel] = gaussian_filter(scaled[..., channel], rng.uniform(0.4, 1.0))
    if rng.random() < NOISE_SHARE:
        noise = rng.standard_normal(scaled.shape, np.float32) * np.float32(rng.uniform(0, 0.06))
        scaled = np.where(scaled > 0, scaled + noise, 0)
    if rng.random() < 0.5:  # left and right: the only mirror image that looks like a head
        scaled, regions = scaled[::-1], regions[::-1]
    return np.ascontiguousarray(scaled, np.float32), np.ascontiguousarray(regions)
