"""Training samples from packed cases: cut, re-contrasted, coarsened, turned, scaled, blurred.

Boxes are cut and chance is drawn by NumPy; Keras does the rest, where the network is trained.
Gain, bend and shift of the intensities are part of the polynomial that unpacks the bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, zoom
from scipy.spatial.transform import Rotation

from model.dataset import SCALE, Packed
from model.device import compiled
from utils.cohort import VOXEL_MM as CUBE_SPACING_MM
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
    """A box of a head and what chance wants done to it, in this order.

    Attributes
    ----------
    images : (i, j, k, 4) uint8 array
        Packed intensities.
    z_powers : (3, 4) float32 array
        Of each modality, what the square of a byte, the byte and one are multiplied by to give its
        re-contrasted z-score. The byte 0 is outside the brain and gives 0.
    labels : (i, j, k) uint8 array
        Values of `utils.labels.Label`.
    coarsened : bool
        Whether it is blurred to the resolution of the lesion cubes.
    matrix : (3, 3) float32 array or None
        Maps places in the sample, from its centre, to places in the box: turns and scales.
    blurred : (channel, standard deviation in voxels) or None
        Which modality is blurred.
    noise : (standard deviation, seed) or None
        What is added inside the brain.
    """

    images: NDArray[np.uint8]
    z_powers: NDArray[np.float32]
    labels: NDArray[np.uint8]
    coarsened: bool
    matrix: NDArray[np.float32] | None
    blurred: tuple[int, float] | None
    noise: tuple[float, int] | None


def cut(case: Packed, shape: tuple[int, int, int], rng: np.random.Generator, style: Style) -> Cut:
    """A random box of a head, more often than not around some part of the tumour."""
    corner = _corner(case, shape, rng)
    box = tuple(slice(max(c, 0), c + n) for c, n in zip(corner, shape, strict=True))
    images, labels = case.images[box], case.labels[box]
    padding = [
        (-min(c, 0), n - got - -min(c, 0))
        for c, n, got in zip(corner, shape, labels.shape, strict=True)
    ]
    mirrored = tuple(axis for axis in range(style.mirrored_axes) if rng.random() < 0.5)
    return Cut(
        images=np.flip(np.pad(images, [*padding, (0, 0)]), mirrored),
        z_powers=_contrasts(case.z_limits, rng),
        labels=np.flip(np.pad(labels, padding), mirrored),
        coarsened=rng.random() < style.coarsened_share,
        matrix=_random_matrix(rng) if rng.random() < TURN_SHARE else None,
        blurred=(int(rng.integers(len(Modality))), rng.uniform(0.4, 1.0))
        if rng.random() < BLUR_SHARE
        else None,
        noise=(rng.uniform(0, NOISE), int(rng.integers(2**31)))
        if rng.random() < NOISE_SHARE
        else None,
    )


def samples(cuts: Sequence[Cut]) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """(n, i, j, k, 4) network inputs and (n, i, j, k, 3) region membership, 0 or 1."""
    batch = [*ops.unstack(ops.concatenate([_z_scores(cuts), _membership(cuts)], -1), len(cuts))]
    for wanted, change in CHANGES:
        places = [n for n, box in enumerate(cuts) if wanted(box)]
        if places:  # those alone, but together: operations are dear on a GPU, voxels on a CPU
            before = ops.stack([batch[n] for n in places])
            after = ops.unstack(change(before, [cuts[n] for n in places]), len(places))
            batch = [after[places.index(n)] if n in places else s for n, s in enumerate(batch)]
    images, regions = ops.split(ops.stack(batch), [len(Modality)], -1)
    return images, regions


def _z_scores(cuts: Sequence[Cut]) -> keras.KerasTensor:
    images = ops.convert_to_tensor(np.stack([box.images for box in cuts]))
    code = ops.cast(images, "float32")
    powers = np.stack([box.z_powers for box in cuts], 1)
    square, slope, offset = ops.reshape(powers, (3, len(cuts), 1, 1, 1, len(Modality)))
    return ops.where(images != 0, (square * code + slope) * code + offset, 0.0)


def _membership(cuts: Sequence[Cut]) -> keras.KerasTensor:
    labels = ops.convert_to_tensor(np.stack([box.labels for box in cuts]))
    return ops.take(REGIONS_OF_LABEL, ops.cast(labels, "int32"), axis=0)


Change = Callable[[keras.KerasTensor, list[Cut]], keras.KerasTensor]


def _scans_alone(change: Change) -> Change:
    def changed(values: keras.KerasTensor, cuts: list[Cut]) -> keras.KerasTensor:
        images, regions = ops.split(values, [len(Modality)], -1)
        return ops.concatenate([change(images, cuts), regions], -1)

    return changed


@_scans_alone
def _coarsened(images: keras.KerasTensor, cuts: list[Cut]) -> keras.KerasTensor:
    kernels = [*map(_there_and_back, cuts[0].labels.shape, CUBE_SPACING_MM)]
    return _along_each_axis(images, kernels)


def _turned(values: keras.KerasTensor, cuts: list[Cut]) -> keras.KerasTensor:
    """Scans resampled linearly, 0 beyond them; regions where more than half is inside."""
    matrices = np.stack([box.matrix for box in cuts if box.matrix is not None])
    centre = (np.array(cuts[0].labels.shape) - 1) / 2
    starts = (centre - matrices @ centre).astype(np.float32)
    images, shares = ops.split(_resampled(values, matrices, starts), [len(Modality)], -1)
    return ops.concatenate([images, ops.cast(shares > 0.5, "float32")], -1)


@_scans_alone
def _blurred(images: keras.KerasTensor, cuts: list[Cut]) -> keras.KerasTensor:
    changed = []
    for scans, box in zip(ops.split(images, len(cuts)), cuts, strict=True):
        channel, sigma = box.blurred or (0, 0)
        before, scan, after = ops.split(scans, [channel, channel + 1], -1)
        scan = _along_each_axis(scan, [_blur(size, sigma) for size in box.labels.shape])
        changed.append(ops.concatenate([before, scan, after], -1))
    return ops.concatenate(changed)


@_scans_alone
def _noisy(images: keras.KerasTensor, cuts: list[Cut]) -> keras.KerasTensor:
    drawn = [
        keras.random.normal(images.shape[1:], stddev=deviation, seed=seed)
        for deviation, seed in (box.noise for box in cuts if box.noise)
    ]
    noise = ops.stack(drawn)
    return ops.where(images != 0, images + noise, images)


CHANGES: tuple[tuple[Callable[[Cut], bool], Change], ...] = (
    (lambda box: box.coarsened, _coarsened),
    (lambda box: box.matrix is not None, _turned),
    (lambda box: box.blurred is not None, _blurred),
    (lambda box: box.noise is not None, _noisy),
)
"""What is done to the samples that want it, in this order."""


def _corner(case: Packed, shape: tuple[int, int, int], rng: np.random.Generator) -> list[int]:
    """Where the crop starts; negative where it is larger than the head and is centred on it."""
    centre = None
    parts = case.parts
    if parts and rng.random() < TUMOUR_SHARE:  # a small part as often as a large one
        centre = rng.choice(parts[rng.integers(len(parts))])
    corner = []
    for axis, (size, n) in enumerate(zip(case.labels.shape, shape, strict=True)):
        if size <= n:
            corner.append((size - n) // 2)
        elif centre is None:
            corner.append(int(rng.integers(size - n + 1)))
        else:
            start = int(centre[axis]) - int(rng.integers(n // 4, 3 * n // 4))
            corner.append(int(np.clip(start, 0, size - n)))
    return corner


def _contrasts(z_limits: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """(3, 4) z-scores of packed bytes under random gain, bend and shift, by powers of the byte."""
    low, high = z_limits
    slope = (high - low) / SCALE
    start = low - slope  # the byte 1 stands for the lower limit
    gain, bend, shift = (
        np.exp(rng.normal(0, LOG_GAIN, len(Modality))),
        *rng.normal(0, [[BEND], [SHIFT]], (2, len(Modality))),
    )
    powers = np.stack(
        [bend * slope**2, (gain + 2 * bend * start) * slope, (gain + bend * start) * start + shift]
    )
    kept = rng.random(len(Modality)) >= DROP_SHARE
    return (powers * kept).astype(np.float32)


@compiled
def _along_each_axis(
    values: keras.KerasTensor, kernels: Sequence[NDArray[np.float32]]
) -> keras.KerasTensor:
    """Multiply (n, i, j, k, c) values by a square matrix along each of the middle axes."""
    for axis, kernel in enumerate(kernels, start=1):
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
def _resampled(
    values: keras.KerasTensor, matrices: NDArray[np.float32], starts: NDArray[np.float32]
) -> keras.KerasTensor:
    """Resample (n, i, j, k, c) values linearly, 0 beyond them, at ``matrix @ voxel + start``.

    Keras' own `map_coordinates` takes one channel.
    """
    count, *shape, channels = values.shape
    flat = ops.reshape(ops.pad(values, [(0, 0), *[(1, 1)] * 3, (0, 0)]), (-1, channels))
    sample, *voxels = np.ogrid[tuple(map(slice, (count, *shape)))]
    sample = ops.cast(sample, "int32")
    voxels = [ops.cast(v, "float32") for v in voxels]
    matrices = ops.reshape(matrices, (count, 3, 3, 1, 1, 1))
    starts = ops.reshape(starts, (count, 3, 1, 1, 1))
    corners = []
    for axis, size in enumerate(shape):
        place = starts[:, axis] + 1 + sum(matrices[:, axis, n] * v[0] for n, v in enumerate(voxels))
        place = ops.clip(place, 0, size + 1)
        floor = ops.minimum(ops.floor(place), size)
        above = place - floor
        floor = ops.cast(floor, "int32")
        corners.append(((floor, 1 - above), (floor + 1, above)))
    total = 0
    for (i, a), (j, b), (k, c) in product(*corners):
        index = ((sample * (shape[0] + 2) + i) * (shape[1] + 2) + j) * (shape[2] + 2) + k
        total += ops.take(flat, index, axis=0) * (a * b * c)[..., None]
    return total
