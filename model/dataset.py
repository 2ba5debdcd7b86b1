"""BraTS folders to training samples, split by patient.

A case is a folder with four scans and a ``seg``, as the challenges publish them. Each is
preprocessed once, exactly as the app does it, and kept as bytes in a cache folder, from which
crops are cut without reading the rest. Two optional files beside the cases widen the set:
``manifest.csv`` (columns ``case`` and ``brats2020_id``) tells which cases of different releases
are one patient; ``lesion_cubes.npz`` holds patches around the lesions of further patients and
``label_maps.npz`` the whole heads' labels they were cut from.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform
from numpy.typing import NDArray
from scipy.ndimage import zoom

from model.config import TrainConfig
from utils.cohort import VOXEL_MM as CUBE_SPACING_MM
from utils.errors import UserError
from utils.intake import find_scans
from utils.labels import Label, LabelCoding, regions_of
from utils.nifti import read_nifti
from utils.preprocess import SPEC, preprocess
from utils.study import Modality, Study

CUBES, LABEL_MAPS = "lesion_cubes.npz", "label_maps.npz"
CUBE_Z_LIMITS = np.repeat([[-4.0], [8.0]], 4, axis=1)  # of every scan
BRAIN_CENTRE_MM = (120, 127, 72)  # in BraTS' atlas space: mean of the patients in the manifest
SCALE = 254  # brain voxels are stored as 1 + SCALE * value, so that 0 can mean outside the brain
CODING_OF_NAME = {
    r"(BraTS(20|2021)_|BraTS19_|Brats1[78]_)": LabelCoding.BRATS_2020,
    r"BraTS-GLI-\d": LabelCoding.BRATS_2023,
    r"BRATS_\d{3}$": LabelCoding.MSD,
}
SEGMENTATION_SUFFIX = re.compile(
    r"[_-]segm?\.nii(\.gz)?$", re.IGNORECASE
)  # one BraTS 2020 case says Segm
VISIT = re.compile(
    r"(?<=^BraTS-GLI-\d{5})-\d{3}$"
)  # since 2023 a name ends with the visit's number


@dataclass(frozen=True)
class Case:
    """One labelled visit on disk.

    Attributes
    ----------
    name : str
        Folder name.
    patient : str
        Shared by everything of one patient, whatever release it comes from.
    scans : mapping of Modality to Path
        The four images.
    segmentation : Path
        The ground truth.
    """

    name: str
    patient: str
    scans: dict[Modality, Path]
    segmentation: Path

    def read(self) -> tuple[Study, NDArray[np.uint8]]:
        """The study and its (I, J, K) labels, on the study's grid."""
        study = Study({m: read_nifti(p.read_bytes(), p.name)[0] for m, p in self.scans.items()})
        truth, _ = read_nifti(self.segmentation.read_bytes(), self.segmentation.name, labels=True)
        try:
            return study, label_coding(self.name).decode(truth.values)
        except ValueError as error:
            raise UserError(
                f"{self.segmentation.name}: {error}. Check which release the case comes from."
            ) from error


@dataclass(frozen=True, eq=False)
class Packed:
    """A preprocessed case.

    Attributes
    ----------
    images : (i, j, k, 4) uint8 array, memory-mapped
        0 outside the brain, else 1 + 254 times the scaled intensity.
    labels : (i, j, k) uint8 array, memory-mapped
        Values of `utils.labels.Label`.
    z_limits : (2, 4) float array
        The intensities that scaling maps to 0 and 1, in standard deviations from the brain's mean.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    z_limits: NDArray[np.float64]

    @cached_property
    def parts(self) -> list[NDArray[np.intp]]:
        """(n, 3) voxels of each label of the tumour; every eighth, which is enough to draw from."""
        some = np.asarray(self.labels[::2, ::2, ::2])
        return [2 * np.argwhere(some == label) for label in np.unique(some[some != 0])]

    @property
    def z_tables(self) -> NDArray[np.float32]:
        """(4, 256) z-scores over the brain of each scan's bytes; 0 outside the brain."""
        low, high = self.z_limits[..., None]
        tables = low + (np.arange(256) - 1) / SCALE * (high - low)
        tables[:, 0] = 0
        return tables.astype(np.float32)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Split:
    """Patients of training, those who only watch it, and those the figures come from."""

    train: tuple[Case, ...]
    validation: tuple[Case, ...]
    test: tuple[Case, ...]


def find_cases(folder: Path) -> list[Case]:
    """Every labelled case below `folder`, by name.

    Raises
    ------
    UserError
        If there is none.
    """
    patients = _patients(folder)
    cases = []
    for path in sorted(p for p in folder.rglob("*") if SEGMENTATION_SUFFIX.search(p.name)):
        name = path.parent.name
        patient = patients.get(name, VISIT.sub("", name))
        try:
            cases.append(Case(name, patient, find_scans(path.parent), path))
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    names = [case.name for case in cases]
    if doubles := {name for name in names if names.count(name) > 1}:
        raise UserError(
            f"{folder} holds two cases called {min(doubles)}; figures and splits go by the names. "
            "Rename one of the folders."
        )
    if not cases:
        raise UserError(
            f"{folder} holds no labelled BraTS case (a folder with four scans and a _seg file). "
            "Name the folder the challenge's archive was unpacked to."
        )
    return cases


def named_cases(folder: Path, names: Sequence[str]) -> list[Case]:
    """The cases of these names below `folder`, in their order.

    Raises
    ------
    UserError
        If one is missing, or no name was given.
    """
    cases = {case.name: case for case in find_cases(folder)}
    absent = [name for name in names if name not in cases]
    if absent or not names:
        raise UserError(
            f"{folder} lacks {', '.join(absent) or 'cases that the network never saw'}; the "
            "figures need every case of the set."
        )
    return [cases[name] for name in names]


def label_coding(case: str) -> LabelCoding:
    """The coding of the release that a case's name belongs to.

    Raises
    ------
    UserError
        If the name fits no known release: labels are never guessed.
    """
    for pattern, coding in CODING_OF_NAME.items():
        if re.match(pattern, case):
            return coding
    raise UserError(
        f"{case}: the name fits no release of BraTS or MSD, so what its labels 1, 2 and 3 mean is "
        "unknown. Rename the folder as its release does (e.g. BraTS20_Training_001)."
    )


def split(cases: Sequence[Case], config: TrainConfig) -> Split:
    """Deal the patients into folds, the same way on every machine and for every order of cases.

    Without a fold (-1) nobody is tested on; the validation patients then train as well: what is
    measured on them says that training works, not how well.
    """
    patients = sorted(
        {c.patient for c in cases}, key=lambda p: sha256(f"{config.seed} {p}".encode()).digest()
    )
    everyone = config.fold < 0
    test = set() if everyone else set(patients[config.fold :: config.folds])
    rest = [p for p in patients if p not in test]
    validation = set(rest[: config.validation_patients])
    unseen = set() if everyone else test | validation
    return Split(
        tuple(c for c in cases if c.patient not in unseen),
        tuple(c for c in cases if c.patient in validation),
        tuple(c for c in cases if c.patient in test),
    )


def pack(case: Case, cache: Path) -> Packed:
    """Preprocess a case, or take it from the cache folder if it is there as it would be now."""
    folder = cache / f"{case.name}_{_fingerprint(case)}"
    if not folder.exists():
        images, labels, z_limits = _preprocessed(case)
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as unfinished:
            new = Path(unfinished, folder.name)
            new.mkdir()
            np.save(new / "images.npy", images)
            np.save(new / "labels.npy", labels)
            (new / "meta.json").write_text(json.dumps({"z_limits": z_limits.tolist()}))
            with suppress(OSError):  # another training was faster
                new.rename(folder)
    return Packed(
        np.load(folder / "images.npy", mmap_mode="r"),
        np.load(folder / "labels.npy", mmap_mode="r"),
        np.array(json.loads((folder / "meta.json").read_text())["z_limits"]),
    )


def _fingerprint(case: Case) -> str:
    """Stands for the files that a case is made of, and for how they are prepared."""
    files = [(p.name, p.stat()) for p in (*case.scans.values(), case.segmentation)]
    made_of = [asdict(SPEC), [(name, at.st_size, at.st_mtime_ns) for name, at in files]]
    return sha256(json.dumps(made_of).encode()).hexdigest()[:12]


def unpacked(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scaled intensities of packed bytes: the network's input."""
    brain = np.maximum(images, 1).astype(np.float32) - np.float32(1)
    return brain / np.float32(SCALE)


@dataclass(frozen=True, eq=False)
class Cubes:
    """Patches around lesions, at 1 mm.

    Attributes
    ----------
    images : (N, i, j, k, 4) uint8 array
        0 outside the brain, else a z-score in [-4, 8]: ``(v - 1) / 254 * 12 - 4``.
    labels : (N, i, j, k) uint8 array
        Values of `utils.labels.Label`.
    centres_mm : (N, 3) float array
        Where each lay in its patient's head, from the middle of the brain.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    centres_mm: NDArray[np.float64]

    def packed(self, index: int) -> "Packed":
        """One cube as a head of its own."""
        return Packed(self.images[index], self.labels[index], CUBE_Z_LIMITS)

    def each(self) -> "Iterator[Packed]":
        """One cube after the other."""
        return map(self.packed, range(len(self.images)))


def unseen(folder: Path, parts: Split, config: TrainConfig) -> set[str]:
    """Patients whose lesion cubes a training must not see.

    Those who watch and test it, and of the patients of whom there are only cubes the fold's part.
    """
    trained = {case.patient for case in parts.train}
    watching = {case.patient for case in (*parts.validation, *parts.test)}
    return {
        patient
        for patient in (cube_patients(folder) | watching) - trained
        if patient in watching or _in_fold(patient, config)
    }


def cube_patients(folder: Path) -> set[str]:
    """Whose lesion cubes lie beside the cases."""
    if not (folder / CUBES).exists():
        return set()
    with np.load(folder / CUBES) as file:
        return {str(name).rsplit("_", 1)[0] for name in file["names"]}


def _in_fold(patient: str, config: TrainConfig) -> bool:
    digest = sha256(f"{config.seed} {patient}".encode()).digest()
    return int.from_bytes(digest[:8]) % config.folds == config.fold


def read_cubes(folder: Path, excluded: Iterable[str]) -> Cubes | None:
    """The lesion cubes beside the cases, without those of the excluded patients; None if absent.

    Their labels are looked for in the whole label maps of the same patients, which tell where in
    the head each was cut from; the few that are not found are left out.
    """
    if not ((folder / CUBES).exists() and (folder / LABEL_MAPS).exists()):
        return None
    with np.load(folder / LABEL_MAPS) as file:
        whole = dict(zip(file["names"].tolist(), file["labels"], strict=True))
    images, labels, centres = [], [], []
    with np.load(folder / CUBES) as file:
        for name, cube, truth in zip(file["names"], file["images"], file["labels"], strict=True):
            patient = str(name).rsplit("_", 1)[0]
            if patient in excluded or (corner := _corner_of(truth, whole[patient])) is None:
                continue
            middle = np.add(corner, np.array(truth.shape) / 2)
            centres.append(middle * CUBE_SPACING_MM - BRAIN_CENTRE_MM)
            images.append(np.stack([_at_1_mm(channel) for channel in cube], axis=-1))
            labels.append(_labels_at_1_mm(truth))
    return Cubes(np.stack(images), np.stack(labels), np.stack(centres))


def _corner_of(cube: NDArray[np.uint8], whole: NDArray[np.uint8]) -> NDArray[np.intp] | None:
    """The voxel of a label map at which a cube was cut; None where it fits nowhere or twice."""
    free = np.subtract(whole.shape, cube.shape) + 1
    fits = np.ones(free, bool)
    for voxel in np.argwhere(cube)[:: max(1, np.count_nonzero(cube) // 40)]:
        fits &= (
            whole[tuple(slice(v, v + n) for v, n in zip(voxel, free, strict=True))]
            == cube[tuple(voxel)]
        )
    corners = [
        corner
        for corner in np.argwhere(fits)
        if np.array_equal(
            whole[tuple(slice(c, c + n) for c, n in zip(corner, cube.shape, strict=True))], cube
        )
    ]
    return corners[0] if len(corners) == 1 else None


def _at_1_mm(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Packed z-scores between the voxels; what is outside the brain stays so."""
    fine: NDArray[np.float32] = _zoomed(codes.astype(np.float32), 1)
    inside = _zoomed(codes, 0) != 0
    return np.where(inside, np.maximum(fine.round(), 1), 0).astype(np.uint8)


def _labels_at_1_mm(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    whole, core, enhancing = (
        _zoomed(region.astype(np.float32), 1) > 0.5
        for region in np.moveaxis(regions_of(labels), -1, 0)
    )
    fine = np.select([enhancing, core, whole], [Label.ET, Label.NCR_NET, Label.ED])
    return fine.astype(np.uint8)


def _zoomed(values: NDArray[Any], order: int) -> NDArray[Any]:
    fine: NDArray[Any] = zoom(values, CUBE_SPACING_MM, order=order, mode="nearest", grid_mode=True)
    return fine


def _patients(folder: Path) -> dict[str, str]:
    manifest = folder / "manifest.csv"
    if not manifest.exists():
        return {}
    with manifest.open(newline="") as file:
        return {r["case"]: r["brats2020_id"] or r["case"] for r in csv.DictReader(file)}


def _preprocessed(
    case: Case,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float64]]:
    study, labels = case.read()
    if not np.allclose(study.grid.spacing_mm, SPEC.spacing_mm, rtol=0.01):
        raise UserError(f"{case.name} has voxels of {study.grid.spacing_mm} mm; BraTS has 1 mm.")
    scaled, placement = preprocess(study)
    to_network = ornt_transform(
        axcodes2ornt(study.grid.orientation), axcodes2ornt(SPEC.orientation)
    )
    boxed = apply_orientation(labels, to_network)[placement.box]
    raw = apply_orientation(study.stack(), to_network)[placement.box]
    brain = (raw != 0).any(axis=-1)
    images = np.where(brain[..., None], (scaled * SCALE).round() + 1, 0).astype(np.uint8)
    voxels = raw[brain]
    bounds = np.percentile(voxels, [SPEC.lower_percentile, SPEC.upper_percentile], axis=0)
    return images, np.ascontiguousarray(boxed), (bounds - voxels.mean(0)) / voxels.std(0)
