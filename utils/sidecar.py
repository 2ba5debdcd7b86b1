"""What stands beside every result: how it came to be, as JSON that people and programs can read.

``docs/sidecar.schema.json`` describes it; `SCHEMA` changes whenever that does.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib import metadata
from platform import python_version
from re import fullmatch

from utils.burden import Burden, burden
from utils.grid import Grid
from utils.labels import Label
from utils.measure import label_volumes_ml, region_volumes_ml, study_midline_mm
from utils.render import RESEARCH_USE
from utils.segmentation import Segmentation
from utils.study import Modality, Study

PROGRAM = "brain-tumour-segmentation"
VERSION = "0.1.0"
SCHEMA = f"{PROGRAM}/sidecar/3"

_PACKAGES = ("keras", "nibabel", "numpy", "openvino", "scipy", "tensorflow", "torch")


@dataclass(frozen=True, eq=False)
class Result:
    """A finished study: everything a download can be made from.

    Attributes
    ----------
    study : Study
        The scans.
    segmentation : Segmentation
        What was found in them.
    input_sha256 : mapping of Modality to str
        Lower-case hexadecimal SHA-256 of each uploaded file's bytes.
    mask : bytes
        The labels as a NIfTI file, verified.
    own : Result or None
        What the model itself found, if a reader has corrected it since.

    Raises
    ------
    ValueError
        If the segmentation does not lie on the study's grid, or a modality's hash is missing or
        anything but a SHA-256: no file name may leave the house in its place.
    """

    study: Study
    segmentation: Segmentation
    input_sha256: Mapping[Modality, str]
    mask: bytes
    own: "Result | None" = None

    def __post_init__(self) -> None:
        if self.segmentation.grid.displacement_mm(self.study.grid) > 0:
            raise ValueError("the segmentation does not lie on the study's grid")
        for modality in Modality:
            if not fullmatch("[0-9a-f]{64}", self.input_sha256.get(modality, "")):
                raise ValueError(f"no SHA-256 of {modality.title} was given")

    @cached_property
    def burden(self) -> Burden:
        """What was found, lesion by lesion; with sides if there is a head to have a midline."""
        found = self.segmentation
        return burden(found.labels, found.grid, study_midline_mm(self.study))


def sidecar_json(result: Result) -> bytes:
    """Write what a later reader needs to trust, repeat or refuse the mask; UTF-8.

    Made twice of one run, at whatever time, it is the same byte for byte.
    """
    facts = provenance(result) | {
        "mask_sha256": sha256(result.mask).hexdigest(),
        "grid": _grid_facts(result.segmentation.grid),
        "volumes_ml": _volumes(result.segmentation),
    }
    if result.own is not None:
        facts["correction"] = _correction(result, result.own)
    return (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode()


def provenance_line(result: Result) -> str:
    """Provenance as one line of ASCII, to be embedded in another file's metadata."""
    return json.dumps(provenance(result))


def provenance(result: Result) -> dict[str, object]:
    """Tell how the result came to be; the part of the sidecar that every file carries."""
    made_by = result.segmentation.provenance
    return {
        "schema": SCHEMA,
        "notice": RESEARCH_USE,
        "program": {"name": PROGRAM, "version": VERSION, "packages": installed_versions()},
        "model": {"id": made_by.model_id, "weights_sha256": made_by.weights_sha256},
        "run": {
            "finished_utc": made_by.finished_utc,
            "seconds": made_by.seconds,
            "device": made_by.runtime,
        },
        "input_sha256": {m.value: result.input_sha256[m] for m in Modality},
        "steps": list(made_by.steps),
        "corrections": list(made_by.corrections),
        "notices": list(made_by.notices),
        "label_map": {str(label.value): label.title for label in Label},
    }


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a mask, of those installed."""
    versions = {"python": python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # an optional runtime
    return versions


def _grid_facts(grid: Grid) -> dict[str, object]:
    return {
        "shape": list(grid.shape),
        "affine": grid.affine.tolist(),
        "spacing_mm": list(grid.spacing_mm),
        "orientation": grid.orientation,
        "voxel_volume_ml": grid.voxel_volume_ml,
    }


def _correction(result: Result, own: Result) -> dict[str, object]:
    """Tell how far a reader's mask departs from the model's; the corrections say what he did."""
    now, before = _volumes(result.segmentation), _volumes(own.segmentation)
    return {
        "model_mask_sha256": sha256(own.mask).hexdigest(),
        "model_volumes_ml": before,
        "difference_ml": {
            kind: {name: round(ml - before[kind][name], 4) for name, ml in volumes.items()}
            for kind, volumes in now.items()
        },
    }


def _volumes(segmentation: Segmentation) -> dict[str, dict[str, float]]:
    labels, grid = segmentation.labels, segmentation.grid
    return {
        "labels": {k.name: round(v, 4) for k, v in label_volumes_ml(labels, grid).items()},
        "regions": {k.name: round(v, 4) for k, v in region_volumes_ml(labels, grid).items()},
    }
