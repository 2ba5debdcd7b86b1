"""Synthetic studies whose answer is known: the demo study, and ellipsoids exact in millimetres.

The demo study is nobody's scan. Its anatomy is the ICBM 2009a symmetric average of 152 healthy
adults (Fonov et al., NeuroImage 47, 2009, S102; free for any use, copyright Louis Collins, McGill),
which nilearn carries in its package: made asymmetric here and given a simulated tumour. Contrast,
blur, bias field and noise imitate skull-stripped BraTS cases.
"""

from dataclasses import dataclass
from importlib.metadata import distribution
from typing import TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.grid import MM3_PER_ML, Grid
from utils.labels import Label
from utils.study import Modality, Study
from utils.volume import Volume

DEMO_VOLUMES_ML = {Label.NCR_NET: 11.5, Label.ED: 46.0, Label.ET: 17.5}
"""True volumes of the demo tumour, exact for every seed: so many 1 mm voxels are labelled."""

Field = NDArray[np.float32]
_Voxel = TypeVar("_Voxel", np.float32, np.uint8)

_TEMPLATE = "nilearn/datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_TEMPLATE_BRAIN = (slice(26, 171), slice(27, 208), slice(0, 155))  # its voxels, stored RAS at 1 mm
_TEMPLATE_SIZE_MM = np.array([145.0, 181.0, 155.0])
_BRAIN_SIZE_MM = np.array([136.0, 172.0, 139.0])  # typical of BraTS cases: MNI's brain is larger

_SHAPE = (240, 240, 155)  # BraTS
_AFFINE = np.array([[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=np.float64)
_HEAD = (slice(44, 192), slice(36, 220), slice(0, 148))  # voxels of the grid that hold the brain
_BRAIN_CENTRE = np.array([74.0, 92.0, 71.0])  # voxels of the head box
_TUMOUR_CENTRE = np.array([43.0, 98.0, 90.0])  # parietal white matter; low i is the patient's right
_TUMOUR_AXES = np.array([1.0, 1.25, 1.0])  # elongated front to back
_MASS_EFFECT_MM = 4.0

_CONTRAST = {  # fluid, grey, white matter, NCR_NET, ED, ET, blood; 1.0: the brain's brightest
    Modality.FLAIR: (0.09, 0.46, 0.36, 0.56, 0.82, 0.70, 0.12),
    Modality.T1: (0.22, 0.52, 0.72, 0.38, 0.54, 0.47, 0.50),
    Modality.T1CE: (0.13, 0.33, 0.42, 0.19, 0.32, 0.84, 1.15),
    Modality.T2: (0.92, 0.38, 0.29, 0.74, 0.58, 0.46, 0.08),
}
_SCANNER_UNITS = {Modality.FLAIR: 1400, Modality.T1: 1500, Modality.T1CE: 2300, Modality.T2: 1700}
_BLUR_VOXELS = {  # in plane and through plane: FLAIR and T2 are acquired in thicker slices
    Modality.FLAIR: (0.6, 1.0),
    Modality.T1: (0.5, 0.6),
    Modality.T1CE: (0.45, 0.5),
    Modality.T2: (0.5, 0.9),
}
_NOISE = 0.014  # standard deviation, in the unit of _CONTRAST


def demo_study(seed: int = 0, *, healthy: bool = False) -> tuple[Study, NDArray[np.uint8]]:
    """Make a synthetic skull-stripped head with a tumour in the patient's right hemisphere.

    Parameters
    ----------
    seed : int
        Another seed gives another outline, noise and bias field; never another volume or side.
    healthy : bool
        Leave the tumour out.

    Returns
    -------
    study : Study
        Four scans, 240 x 240 x 155 voxels of 1 mm, stored LPS; whole numbers, background exactly 0.
    labels : (240, 240, 155) uint8 array, read-only
        The truth, values of `utils.labels.Label`; volumes are ``DEMO_VOLUMES_ML``.
    """
    rng = np.random.default_rng(seed)
    anatomy = _anatomy(rng)
    tumour = _tumour(anatomy, rng)
    if healthy:
        tumour[:] = Label.BACKGROUND
    tissues = _tissue_fractions(anatomy, tumour, rng)
    grid = Grid(_SHAPE, _AFFINE)
    scans = {
        modality: Volume(_on_grid(_scan(modality, tissues, anatomy, rng)), grid)
        for modality in Modality
    }
    labels = _on_grid(tumour)
    labels.flags.writeable = False
    return Study(scans), labels


def ellipsoid(
    grid: Grid, centre_mm: tuple[float, float, float], radii_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Voxels of `grid` whose centre lies in an ellipsoid along the world axes.

    Parameters
    ----------
    grid : Grid
        Any grid, also oblique or anisotropic.
    centre_mm, radii_mm : 3 floats each
        In RAS+ world space.

    Returns
    -------
    (I, J, K) bool array

    Raises
    ------
    ValueError
        If a radius is not positive.
    """
    if min(radii_mm) <= 0:
        raise ValueError(f"an ellipsoid's radii must be positive, got {radii_mm}")
    axes = [np.arange(n, dtype=np.float64) for n in grid.shape]
    i, j, k = np.meshgrid(*axes, indexing="ij", sparse=True)
    distance = np.zeros(grid.shape)
    for row, centre, radius in zip(grid.affine[:3], centre_mm, radii_mm, strict=True):
        distance += ((row[0] * i + row[1] * j + row[2] * k + row[3] - centre) / radius) ** 2
    return distance <= 1


@dataclass(frozen=True, eq=False)
class _Anatomy:
    """Healthy tissue in the head box; all but `brain` float32 fractions."""

    brain: NDArray[np.bool_]
    depth: Field  # the blurred brain mask: about 0.5 at its surface, 1 deep inside
    csf: Field
    gm: Field
    wm: Field


def _anatomy(rng: np.random.Generator) -> _Anatomy:
    t1, gm, wm = _warped_template(rng)
    shape = t1.shape
    ragged = 0.12 * _smooth_field(rng, shape, 7) + 0.07 * _smooth_field(rng, shape, 3)
    tissue = gm + wm
    deep = ndimage.gaussian_filter((t1 > 0).astype(np.float32), 4, truncate=2) > 0.93
    # skull stripping trims the fluid around the brain, raggedly, but not the fluid within
    brain = np.where(deep, t1 > 0, (t1 > 0.25) & (tissue > 0.5 + ragged))
    fluid = np.clip(1 - tissue, 0, 1)
    # an average of many brains shows sulci as faint shades: T1's give their fluid back
    smoothed = ndimage.gaussian_filter(t1, 2.5, truncate=2)
    sulci = np.clip((0.60 - t1) / 0.22, 0, 1)
    sulci += np.where(t1 < 0.66, np.clip((smoothed - t1 - 0.02) * 5, 0, 0.7), np.float32(0))
    vary = np.exp(0.4 * _smooth_field(rng, shape, 5))
    shares = [np.maximum(fluid, sulci) ** 1.7 * vary, gm**2.2, wm**2.2 / vary]
    total = sum(shares) + np.float32(1e-6)
    csf, gm, wm = (share / total for share in shares)
    depth = ndimage.gaussian_filter(brain.astype(np.float32), 4, truncate=2)
    return _Anatomy(brain, depth, csf, gm, wm)


def _warped_template(rng: np.random.Generator) -> list[Field]:
    """T1, grey and white matter in the head box, 0 to 1."""
    where = _template_position(rng)
    template = _template()
    coarse = ndimage.map_coordinates(template[0], where[:, ::4, ::4, ::4], order=1) > 0
    near = ndimage.binary_dilation(coarse, iterations=2)  # half of the box is far from the brain
    for axis in range(3):
        near = near.repeat(4, axis)
    points = where[:, near]
    warped = [np.zeros(near.shape, np.float32) for _ in template]
    for values, source in zip(warped, template, strict=True):
        values[near] = ndimage.map_coordinates(source, points, order=1)
    return warped


def _template() -> list[Field]:
    """T1, grey and white matter of the average brain, 0 to 1, stored LPS at 1 mm."""
    # a pinned package's own file is no upload: it needs no second reader, and importing nilearn
    # takes longer than all else here
    package = distribution("nilearn")
    maps = []
    for name in ("t1", "gm", "wm"):
        image = nib.Nifti1Image.from_filename(str(package.locate_file(_TEMPLATE.format(name))))
        voxels = np.asarray(image.dataobj)[_TEMPLATE_BRAIN][::-1, ::-1]
        maps.append(voxels.astype(np.float32) / 255)
    brain = maps[0] > 0
    return [np.where(brain, values, np.float32(0)) for values in maps]


def _template_position(rng: np.random.Generator) -> Field:
    """(3, I, J, K) template voxel seen at each voxel of the head box.

    No two heads are alike, nor two hemispheres: a smooth random warp; and a tumour pushes.
    """
    shape = tuple(s.stop - s.start for s in _HEAD)
    scale = (_TEMPLATE_SIZE_MM / _BRAIN_SIZE_MM).astype(np.float32)
    middle = ((_TEMPLATE_SIZE_MM - 1) / 2).astype(np.float32)
    push = _push(shape)
    where = np.empty((3, *shape), np.float32)
    for axis, along in enumerate(np.indices(shape, dtype=np.float32, sparse=True)):
        where[axis] = 2.2 * _smooth_field(rng, shape, 30) + 0.6 * _smooth_field(rng, shape, 11)
        where[axis] -= push * (along - np.float32(_TUMOUR_CENTRE[axis]))
        where[axis] += along - np.float32(_BRAIN_CENTRE[axis])
        where[axis] *= scale[axis]
        where[axis] += middle[axis]
    return where


def _push(shape: tuple[int, ...]) -> Field:
    """How far tissue has moved away from the tumour's centre, as a share of its distance to it."""
    reach_mm = 16.0
    i, j, k = (
        np.exp(-(((np.arange(n) - centre) / reach_mm) ** 2) / 2).astype(np.float32)
        for n, centre in zip(shape, _TUMOUR_CENTRE, strict=True)
    )
    # x exp(-x^2 / 2) peaks at exp(-1/2), where x = 1
    peak = np.float32(_MASS_EFFECT_MM / reach_mm * np.exp(0.5))
    share: Field = peak * i[:, None, None] * j[:, None] * k
    return share


def _tumour(anatomy: _Anatomy, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Labels in the head box, as many voxels each as ``DEMO_VOLUMES_ML`` says."""
    shape = anatomy.brain.shape
    fluid = ndimage.gaussian_filter(anatomy.csf, 1, truncate=2)
    white = ndimage.gaussian_filter(anatomy.wm, 1.2, truncate=2)
    outline = 2.6 * _smooth_field(rng, shape, 12) + 1.3 * _smooth_field(rng, shape, 5)
    core = _distance_mm(shape) + outline + 14 * fluid + 5 * (1 - white)
    core[~anatomy.brain] += 1000
    inner = core + 1.5 * _smooth_field(rng, shape, 9) + 0.7 * _smooth_field(rng, shape, 4)
    # oedema follows white matter and stops at cortex and ventricles
    spread = core + 2.5 * _smooth_field(rng, shape, 16) + 15 * (1 - white) + 34 * fluid
    voxels = {label: round(ml * MM3_PER_ML) for label, ml in DEMO_VOLUMES_ML.items()}
    labels = np.zeros(shape, np.uint8)
    # outermost first, each painted over the one that surrounds it
    _paint_cheapest(labels, Label.ED, spread, sum(voxels.values()))
    _paint_cheapest(labels, Label.ET, core, voxels[Label.ET] + voxels[Label.NCR_NET])
    _paint_cheapest(labels, Label.NCR_NET, inner, voxels[Label.NCR_NET])
    return labels


def _distance_mm(shape: tuple[int, ...]) -> Field:
    """Distance from the tumour's centre, shorter along its long axes."""
    axes = [
        ((np.arange(n, dtype=np.float32) - centre) / stretch) ** 2
        for n, centre, stretch in zip(shape, _TUMOUR_CENTRE, _TUMOUR_AXES, strict=True)
    ]
    i, j, k = np.meshgrid(*axes, indexing="ij", sparse=True)
    distance: Field = np.sqrt(i + j + k)
    return distance


def _paint_cheapest(labels: NDArray[np.uint8], label: Label, cost: Field, n_voxels: int) -> None:
    """Give `label` to the `n_voxels` of lowest cost, within what is painted if anything is."""
    painted = labels > 0
    within = np.where(painted, cost, np.inf) if painted.any() else cost
    chosen = np.argpartition(within, n_voxels, axis=None)[:n_voxels]
    labels.reshape(-1)[chosen] = label


def _tissue_fractions(
    anatomy: _Anatomy, tumour: NDArray[np.uint8], rng: np.random.Generator
) -> Field:
    """(7, I, J, K) share of each tissue of _CONTRAST; the truth's sharp borders are soft here."""
    shape = tumour.shape
    soft = {
        label: ndimage.gaussian_filter((tumour == label).astype(np.float32), 0.7, truncate=3)
        for label in DEMO_VOLUMES_ML
    }
    soft[Label.ED] *= _patchy(0.82, rng, shape)  # the soaked tissue shines through
    dead = soft[Label.ET] * (1 - _patchy(0.80, rng, shape))
    alive = soft[Label.NCR_NET] * (1 - _patchy(0.93, rng, shape))
    soft[Label.ET] += alive - dead
    soft[Label.NCR_NET] += dead - alive
    healthy: Field = 1 - np.sum(list(soft.values()), axis=0)
    vessel = _vessels(anatomy, rng) * healthy
    healthy -= vessel
    tissue = [share * healthy for share in (anatomy.csf, anatomy.gm, anatomy.wm)]
    return np.stack([*tissue, soft[Label.NCR_NET], soft[Label.ED], soft[Label.ET], vessel])


def _patchy(mean: float, rng: np.random.Generator, shape: tuple[int, ...]) -> Field:
    """Share near `mean` that varies over some millimetres, never above 1."""
    share: Field = np.clip(mean + 0.11 * _smooth_field(rng, shape, 3.5), 0, 1)
    return share


def _vessels(anatomy: _Anatomy, rng: np.random.Generator) -> Field:
    """Share of blood: veins in the sulci, and the superior sagittal sinus on the midline."""
    shape = anatomy.brain.shape
    # two random surfaces meet in a winding curve: a vessel's course
    off_course = _smooth_field(rng, shape, 9) ** 2 + _smooth_field(rng, shape, 9) ** 2
    veins = np.exp(-off_course / 0.03) * np.clip(anatomy.csf * 2, 0, 1)
    shallow = np.clip((0.97 - anatomy.depth) * 8, 0, 1)
    i = np.arange(shape[0], dtype=np.float32) - np.float32(_BRAIN_CENTRE[0])
    upper = np.clip((np.arange(shape[2], dtype=np.float32) - 60) / 10, 0, 1)
    surface = np.clip((0.7 - anatomy.depth) * 8, 0, 1)
    sinus = np.exp(-((i / 2.2) ** 4))[:, None, None] * upper * surface
    vessels: Field = np.maximum(veins * shallow, sinus) * anatomy.brain
    return vessels


def _scan(modality: Modality, tissues: Field, anatomy: _Anatomy, rng: np.random.Generator) -> Field:
    """Scanner units in the head box: whole numbers, 0 outside the brain and at least 1 inside."""
    shape = anatomy.brain.shape
    signal = np.tensordot(np.array(_CONTRAST[modality], np.float32), tissues, axes=1)
    signal *= np.clip(0.5 + 3 * (anatomy.depth - 0.45), 0.25, 1)  # skull's dark edge shares voxels
    in_plane, through = _BLUR_VOXELS[modality]
    signal = ndimage.gaussian_filter(signal, (in_plane, in_plane, through), truncate=2.5)
    signal *= 1 + 0.06 * _smooth_field(rng, shape, 60) + 0.03 * _smooth_field(rng, shape, 5)
    noise = _NOISE * _correlated_noise(rng, shape)
    # Rician; the far corner's noise is as good as another draw
    magnitude = np.hypot(signal + noise, noise[::-1, ::-1, ::-1])
    units = np.maximum(np.rint(magnitude * _SCANNER_UNITS[modality]), 1)
    return np.where(anatomy.brain, units, np.float32(0)).astype(np.float32)


def _correlated_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Field:
    """Noise of unit variance, correlated between neighbours as registration leaves it."""
    noise = rng.standard_normal([n + 1 for n in shape], dtype=np.float32)
    noise = noise[1:] + noise[:-1]
    noise = noise[:, 1:] + noise[:, :-1]
    noise = noise[:, :, 1:] + noise[:, :, :-1]
    noise /= np.float32(np.sqrt(8))
    return noise


def _smooth_field(rng: np.random.Generator, shape: tuple[int, ...], knot_mm: float) -> Field:
    """Smooth noise of mean 0 and variance about 1: random knots joined by cubic B-splines."""
    weights = [_spline_weights(n, knot_mm) for n in shape]
    field = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    field -= field.mean()
    field *= np.float32((315 / 151) ** 1.5)  # a cubic B-spline's mean square is 151/315 per axis
    for weight in weights:
        field = np.tensordot(field, weight, axes=(0, 1))
    return field


def _spline_weights(n_voxels: int, knot_mm: float) -> Field:
    """(n_voxels, n_knots) cubic B-spline weights on 1 mm voxels."""
    knots = np.arange(-1, np.ceil(n_voxels / knot_mm) + 2)
    t = np.abs(np.arange(n_voxels)[:, None] / knot_mm - knots)
    near = 2 / 3 - t**2 + t**3 / 2
    far = np.clip(2 - t, 0, None) ** 3 / 6
    return np.where(t < 1, near, far).astype(np.float32)


def _on_grid(head: NDArray[_Voxel]) -> NDArray[_Voxel]:
    """Set the head box into an empty BraTS grid."""
    values = np.zeros(_SHAPE, head.dtype)
    values[_HEAD] = head
    return values
