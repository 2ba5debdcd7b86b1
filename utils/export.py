"""Files a clinician takes home. None holds a file name, a time or any text of the scans."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from importlib import metadata
from platform import python_version

from utils.grid import Grid
from utils.labels import Label, Region
from utils.measure import label_volumes_ml, region_volumes_ml
from utils.plane import Plane
from utils.render import RESEARCH_USE, Style, View, key_slice, slice_png
from utils.segmentation import Segmentation
from utils.study import Modality, Study

CSV_COLUMNS = ("kind", "name", "title", "volume_ml", "voxels", "model", "weights_sha256")
SIDECAR_SCHEMA = "brain-tumour-segmentation/sidecar/1"
MASK_NAME = "segmentation.nii.gz"
SIDECAR_NAME = "segmentation.json"
CSV_NAME = "volumes.csv"

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP can state: it says "no time"
_UNIX = 3
_READABLE_FILE = 0o100644
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PACKAGES = ("keras", "nibabel", "numpy", "onnxruntime", "openvino", "scipy", "tensorflow", "torch")


def volumes_csv(segmentation: Segmentation) -> bytes:
    """Write one row a tumour label, then one a region, under ``CSV_COLUMNS``; UTF-8.

    Labels exclude each other; regions are nested, so their rows must not be added up.
    """
    labels, grid = segmentation.labels, segmentation.grid
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for label, volume_ml in label_volumes_ml(labels, grid).items():
        writer.writerow(_row(segmentation, "label", label, volume_ml))
    for region, volume_ml in region_volumes_ml(labels, grid).items():
        writer.writerow(_row(segmentation, "region", region, volume_ml))
    return table.getvalue().encode()


def sidecar_json(
    segmentation: Segmentation, input_sha256: Mapping[Modality, str], mask: bytes
) -> bytes:
    """Write what a later reader needs to trust, repeat or refuse the mask; UTF-8.

    The time that the run took is left out: equal results give equal bytes.

    Parameters
    ----------
    segmentation : Segmentation
        What is exported.
    input_sha256 : mapping of Modality to str
        Lower-case hexadecimal SHA-256 of each uploaded file's bytes.
    mask : bytes
        The mask file that the sidecar goes with.

    Raises
    ------
    ValueError
        If a modality's hash is missing or is not a SHA-256.
    """
    _refuse_other_than_hashes(input_sha256)
    made_by = segmentation.provenance
    sidecar = {
        "schema": SIDECAR_SCHEMA,
        "notice": RESEARCH_USE,
        "input_sha256": {modality.value: input_sha256[modality] for modality in Modality},
        "mask_sha256": sha256(mask).hexdigest(),
        "model": {
            "id": made_by.model_id,
            "weights_sha256": made_by.weights_sha256,
            "runtime": made_by.runtime,
        },
        "versions": installed_versions(),
        "steps": list(made_by.steps),
        "notices": list(made_by.notices),
        "label_map": {str(label.value): label.title for label in Label},
        "grid": _grid_facts(segmentation.grid),
        "volumes_ml": _volumes(segmentation),
    }
    return (json.dumps(sidecar, indent=2, ensure_ascii=False) + "\n").encode()


def bundle_zip(
    segmentation: Segmentation,
    study: Study,
    input_sha256: Mapping[Modality, str],
    mask: bytes,
) -> bytes:
    """Pack the mask, its sidecar, the volumes and one outlined T1ce slice a plane into one ZIP.

    Equal input gives equal bytes, on every machine with the same package versions.

    Parameters
    ----------
    segmentation : Segmentation
        What is exported.
    study : Study
        The scans it belongs to.
    input_sha256 : mapping of Modality to str
        See `sidecar_json`.
    mask : bytes
        The segmentation's labels as gzipped NIfTI.

    Raises
    ------
    ValueError
        If the segmentation does not belong to the study, or see `sidecar_json`.
    """
    if segmentation.grid.displacement_mm(study.grid) > 0:
        raise ValueError("the segmentation does not lie on the study's grid")
    files = {
        MASK_NAME: mask,
        SIDECAR_NAME: sidecar_json(segmentation, input_sha256, mask),
        CSV_NAME: volumes_csv(segmentation),
    }
    files |= {f"{p.name.lower()}.png": _key_picture(segmentation, study, p) for p in Plane}
    return _zip(files)


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a mask, of those installed."""
    versions = {"python": python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # an optional runtime
    return versions


def _row(
    segmentation: Segmentation, kind: str, structure: Label | Region, volume_ml: float
) -> tuple[str, ...]:
    made_by = segmentation.provenance
    return (
        kind,
        structure.name,
        structure.title,
        f"{volume_ml:.4f}",
        str(round(volume_ml / segmentation.grid.voxel_volume_ml)),
        made_by.model_id,
        made_by.weights_sha256,
    )


def _refuse_other_than_hashes(input_sha256: Mapping[Modality, str]) -> None:
    """Keep anything else, a file name above all, out of what leaves the house."""
    for modality in Modality:
        if not _SHA256.fullmatch(input_sha256.get(modality, "")):
            raise ValueError(f"no SHA-256 of {modality.title} was given")


def _grid_facts(grid: Grid) -> dict[str, object]:
    return {
        "shape": list(grid.shape),
        "affine": grid.affine.tolist(),
        "spacing_mm": list(grid.spacing_mm),
        "orientation": grid.orientation,
        "voxel_volume_ml": grid.voxel_volume_ml,
    }


def _volumes(segmentation: Segmentation) -> dict[str, dict[str, float]]:
    labels, grid = segmentation.labels, segmentation.grid
    return {
        "labels": {k.name: round(v, 4) for k, v in label_volumes_ml(labels, grid).items()},
        "regions": {k.name: round(v, 4) for k, v in region_volumes_ml(labels, grid).items()},
    }


def _key_picture(segmentation: Segmentation, study: Study, plane: Plane) -> bytes:
    view = View(plane, key_slice(segmentation.labels, segmentation.grid, plane))
    scan = study.scans[Modality.T1CE]
    return slice_png(scan, segmentation.labels, view, Style(outline=True))


def _zip(files: Mapping[str, bytes]) -> bytes:
    """Store, do not deflate: most is compressed already, and zlib's bytes differ by version."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _ZIP_EPOCH)
            entry.create_system = _UNIX  # else the platform's own
            entry.external_attr = _READABLE_FILE << 16
            archive.writestr(entry, content)
    return file.getvalue()
