"""Training samples from packed cases: cut, re-contrasted, coarsened, turned, scaled, blurred.

Boxes are cut and chance is drawn by NumPy; Keras does the rest, where the network is trained.
Intensities change through a table of 256 z-scores per modality, applied to the packed bytes: gain,
bend and shift then cost one look-up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, zoom
from scipy.spatial.transform import Rotation

from model.dataset import CUBE_SPACING_MM, Packed
from model.device import compiled
from utils.labels import Label, regions_of
from utils.study import Modality

REGIONS_OF_LABEL = regions_of(np.arange(max(Label) + 1, dtype=np.uint8)).astype(np.float32)

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


@dataclass(frozen=True, eq=False, kw_only=True)
class Cut:
    """A box of a head, re-contrasted, and what else chance wants done to it, in this order.

    Attributes
    ----------
    images : (i, j, k, 4) float32 array
        z-scores over the brain.
    labels : (i, j, k) uint8 array
        Values of `utils.labels.Label`.
    coarsened : bool
        Whether it is blurred to the resolution of the lesion cubes.
    matrix : (3, 3) float32 array or None
        Maps places in the sample, from its centre, to places in the box: turns and scales.
    blurred : (channel, standard deviation in voxels) or None
        Which modality is blurred.
    noise, noise_seed : float, int
        Its standard deviation and what it is drawn from.
    mirrored : tuple of int
        Along which axes.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.uint8]
    coarsened: bool
    matrix: NDArray[np.float32] | None
    blurred: tuple[int, float] | None
    noise: float
    noise_seed: int
    mirrored: tuple[int, ...]


def cut(case: Packed, shape: tuple[int, int, int], rng: np.random.Generator, style: Style) -> Cut:
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
    return Cut(
        images=np.stack([table[images[..., c]] for c, table in enumerate(tables)], axis=-1),
        labels=labels,
        coarsened=rng.random() < style.coarsened_share,
        matrix=_random_matrix(rng) if rng.random() < TURN_SHARE else None,
        blurred=(int(rng.integers(len(Modality))), rng.uniform(0.4, 1.0))
        if rng.random() < BLUR_SHARE
        else None,
        noise=rng.uniform(0, NOISE) if rng.random() < NOISE_SHARE else 0,
        noise_seed=int(rng.integers(2**31)),
        mirrored=tuple(axis for axis in range(style.mirrored_axes) if rng.random() < 0.5),
    )


def samples(cuts: Sequence[Cut]) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """(n, i, j, k, 4) network inputs and (n, i, j, k, 3) region membership, 0 or 1."""
    images, regions = zip(*map(_sample, cuts), strict=True)
    return ops.stack(images), ops.stack(regions)


def _sample(box: Cut) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    images = ops.convert_to_tensor(box.images)
    labels = ops.cast(ops.convert_to_tensor(box.labels), "int32")
    regions = ops.take(REGIONS_OF_LABEL, labels, axis=0)
    if box.coarsened:
        kernels = [*map(_there_and_back, box.labels.shape, CUBE_SPACING_MM)]
        images = _along_each_axis(images, kernels)
    if box.matrix is not None:
        centre = (np.array(box.labels.shape) - 1) / 2
        start = (centre - box.matrix @ centre).astype(np.float32)
        turned = _turned(ops.concatenate([images, regions], -1), box.matrix, start)
        images, shares = ops.split(turned, [len(Modality)], axis=-1)
        regions = ops.cast(shares > 0.5, "float32")
    if box.blurred is not None:
        channel, sigma = box.blurred
        before, blurred, after = ops.split(images, [channel, channel + 1], axis=-1)
        kernels = [_blur(size, sigma) for size in box.labels.shape]
        images = ops.concatenate([before, _along_each_axis(blurred, kernels), after], -1)
    if box.noise:
        noise = keras.random.normal(images.shape, 0, box.noise, seed=box.noise_seed)
        images = ops.where(images != 0, images + noise, images)
    if box.mirrored:
        images, regions = ops.flip(images, box.mirrored), ops.flip(regions, box.mirrored)
    return images, regions


def _corner(
    labels: NDArray[np.uint8], shape: tuple[int, int, int], rng: np.random.Generator
) -> list[int]:
    """Where the crop starts; negative where it is larger than the head and is centred on it."""
    centre = None
    some = labels[::2, ::2, ::2]  # enough to choose from, and read eight times sooner
    parts = np.flatnonzero(np.bincount(some.ravel())[1:]) + 1
    if parts.size and rng.random() < TUMOUR_SHARE:  # a small part as often as a large one
        part = np.flatnonzero(some == rng.choice(parts))
        centre = 2 * np.array(np.unravel_index(rng.choice(part), some.shape))
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


@compiled
def _along_each_axis(
    values: keras.KerasTensor, kernels: Sequence[NDArray[np.float32]]
) -> keras.KerasTensor:
    """Multiply by an (n, n) matrix along each of the first three axes."""
    for axis, kernel in enumerate(kernels):
        values = ops.moveaxis(ops.tensordot(kernel, values, (1, axis)), 0, axis)
    return values


def _blur(size: int, sigma: float) -> NDArray[np.float32]:
    """(size, size) matrix of a Gaussian blur."""
    kernel: NDArray[np.float32] = gaussian_filter1d(np.eye(size, dtype=np.float32), sigma, axis=0)
    return kernel


@cache
def _there_and_back(size: int, spacing: float) -> NDArray[np.float32]:
    """(size, size) matrix of linear sampling at `spacing` voxels and back again."""
    coarse = zoom(np.eye(size), (1 / spacing, 1), order=1, mode="nearest", grid_mode=True)
    back = (size / len(coarse), 1)
    fine: NDArray[np.float64] = zoom(coarse, back, order=1, mode="nearest", grid_mode=True)
    return fine.astype(np.float32)


def _random_matrix(rng: np.random.Generator) -> NDArray[np.float32]:
    """Rotation about the three axes times an isotropic scale."""
    turn = Rotation.from_euler("xyz", rng.uniform(-TURN_RADIANS, TURN_RADIANS, 3)).as_matrix()
    matrix: NDArray[np.float64] = turn * np.exp(rng.uniform(-LOG_SCALE, LOG_SCALE))
    return matrix.astype(np.float32)


@compiled
def _turned(
    values: keras.KerasTensor, matrix: NDArray[np.float32], start: NDArray[np.float32]
) -> keras.KerasTensor:
    """Resample (i, j, k, c) values linearly, 0 beyond them, at ``matrix @ voxel + start``.

    Keras' own `map_coordinates` takes one channel.
    """
    *shape, channels = values.shape
    flat = ops.reshape(ops.pad(values, [(1, 1)] * 3 + [(0, 0)]), (-1, channels))
    matrix, start = ops.convert_to_tensor(matrix), ops.convert_to_tensor(start)
    voxels = [ops.cast(v, "float32") for v in np.ogrid[tuple(map(slice, shape))]]
    corners = []
    for axis, size in enumerate(shape):
        place = start[axis] + 1 + sum(matrix[axis, n] * v for n, v in enumerate(voxels))
        place = ops.clip(place, 0, size + 1)
        floor = ops.minimum(ops.floor(place), size)
        above = place - floor
        floor = ops.cast(floor, "int32")
        corners.append(((floor, 1 - above), (floor + 1, above)))
    total = 0
    for (i, a), (j, b), (k, c) in product(*corners):
        index = (i * (shape[1] + 2) + j) * (shape[2] + 2) + k
        total += ops.take(flat, index, axis=0) * (a * b * c)[..., None]
    return total
