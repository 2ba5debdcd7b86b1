"""Exports of a segmentation whose volumes are known on paper: voxels of 2 microlitres."""

import csv
import io
import json
import time
import zipfile
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

from utils.export import CSV_COLUMNS, bundle_zip, installed_versions, sidecar_json, volumes_csv
from utils.grid import Grid
from utils.labels import Label, Region
from utils.segmentation import Provenance, Segmentation
from utils.study import Modality, Study
from utils.volume import Volume

MASK = b"a mask file"
INPUT_SHA256 = {modality: sha256(modality.encode()).hexdigest() for modality in Modality}
WEIGHTS_SHA256 = "ab" * 32


@pytest.fixture
def segmentation() -> Segmentation:
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[:5] = Label.ED  # 500 voxels
    labels[:2] = Label.NCR_NET
    labels[0] = Label.ET
    grid = Grid(labels.shape, np.diag([-1.0, -1.0, 2.0, 1.0]))
    probabilities = np.zeros((*labels.shape, len(Region)), np.uint8)
    made_by = Provenance("unet-1", WEIGHTS_SHA256, "CPU", 3.5, ("scaled",), ("thick slices",))
    return Segmentation(labels, probabilities, grid, made_by)


@pytest.fixture
def study(segmentation: Segmentation) -> Study:
    values = np.random.default_rng(0).uniform(1, 2, segmentation.grid.shape).astype(np.float32)
    return Study({modality: Volume(values, segmentation.grid) for modality in Modality})


def entries(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_csv_lists_every_label_and_region_with_its_provenance(segmentation: Segmentation) -> None:
    rows = list(csv.DictReader(io.StringIO(volumes_csv(segmentation).decode())))
    assert [tuple(row) for row in rows] == [CSV_COLUMNS] * 6
    assert [(r["kind"], r["name"], r["volume_ml"], r["voxels"]) for r in rows] == [
        ("label", "NCR_NET", "0.2000", "100"),
        ("label", "ED", "0.6000", "300"),
        ("label", "ET", "0.2000", "100"),
        ("region", "WT", "1.0000", "500"),
        ("region", "TC", "0.4000", "200"),
        ("region", "ET", "0.2000", "100"),
    ]
    assert {(r["model"], r["weights_sha256"]) for r in rows} == {("unet-1", WEIGHTS_SHA256)}


def test_no_tumour_is_stated_as_zero_not_left_out(segmentation: Segmentation) -> None:
    empty = replace(segmentation, labels=np.zeros(segmentation.grid.shape, np.uint8))
    rows = list(csv.DictReader(io.StringIO(volumes_csv(empty).decode())))
    assert [(r["volume_ml"], r["voxels"]) for r in rows] == [("0.0000", "0")] * 6


def test_sidecar_explains_the_mask(segmentation: Segmentation) -> None:
    sidecar = json.loads(sidecar_json(segmentation, INPUT_SHA256, MASK))
    assert sidecar.pop("versions") == installed_versions()
    assert sidecar == {
        "schema": "brain-tumour-segmentation/sidecar/1",
        "notice": "Research use only. Not for diagnosis.",
        "input_sha256": {m.value: INPUT_SHA256[m] for m in Modality},
        "mask_sha256": sha256(MASK).hexdigest(),
        "model": {"id": "unet-1", "weights_sha256": WEIGHTS_SHA256, "runtime": "CPU"},
        "steps": ["scaled"],
        "notices": ["thick slices"],
        "label_map": {
            "0": "Background",
            "1": "Necrotic and non-enhancing core",
            "2": "Oedema",
            "4": "Enhancing tumour",
        },
        "grid": {
            "shape": [10, 10, 10],
            "affine": [[-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]],
            "spacing_mm": [1, 1, 2],
            "orientation": "LPS",
            "voxel_volume_ml": 0.002,
        },
        "volumes_ml": {
            "labels": {"NCR_NET": 0.2, "ED": 0.6, "ET": 0.2},
            "regions": {"WT": 1.0, "TC": 0.4, "ET": 0.2},
        },
    }


def test_versions_name_what_made_the_mask_and_skip_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("utils.export._PACKAGES", ("numpy", "no-such-package-is-installed"))
    versions = installed_versions()
    assert versions["numpy"] == np.__version__
    assert set(versions) == {"python", "numpy"}


@pytest.mark.parametrize("wrong", ["", "DOE_JANE_t1.nii.gz", "AB" * 32, "ab" * 31])
def test_only_a_hash_can_stand_for_a_file(segmentation: Segmentation, wrong: str) -> None:
    with pytest.raises(ValueError, match="no SHA-256 of T1 was given"):
        sidecar_json(segmentation, {**INPUT_SHA256, Modality.T1: wrong}, MASK)


def test_a_missing_hash_is_refused(segmentation: Segmentation) -> None:
    with pytest.raises(ValueError, match="no SHA-256 of FLAIR was given"):
        sidecar_json(segmentation, {}, MASK)


def test_bundle_holds_mask_sidecar_table_and_a_picture_of_each_plane(
    segmentation: Segmentation, study: Study
) -> None:
    files = entries(bundle_zip(segmentation, study, INPUT_SHA256, MASK))
    assert files.pop("segmentation.nii.gz") == MASK
    assert files.pop("segmentation.json") == sidecar_json(segmentation, INPUT_SHA256, MASK)
    assert files.pop("volumes.csv") == volumes_csv(segmentation)
    assert set(files) == {"axial.png", "coronal.png", "sagittal.png"}
    for picture in files.values():
        colours = np.asarray(Image.open(io.BytesIO(picture))).reshape(-1, 3)
        assert (colours == Label.ET.colour).all(axis=1).any()


def test_bundle_is_the_same_byte_for_byte_at_any_time(
    segmentation: Segmentation, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bundle_zip(segmentation, study, INPUT_SHA256, MASK)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1e6)
    assert bundle_zip(segmentation, study, INPUT_SHA256, MASK) == first
    slower = replace(segmentation, provenance=replace(segmentation.provenance, seconds=99.0))
    assert bundle_zip(slower, study, INPUT_SHA256, MASK) == first


def test_bundle_states_no_time(segmentation: Segmentation, study: Study) -> None:
    with zipfile.ZipFile(io.BytesIO(bundle_zip(segmentation, study, INPUT_SHA256, MASK))) as z:
        assert {entry.date_time for entry in z.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_segmentation_of_another_study_is_not_packed(
    segmentation: Segmentation, study: Study
) -> None:
    moved = segmentation.grid.affine.copy()
    moved[0, 3] += 5
    elsewhere = replace(segmentation, grid=Grid(segmentation.grid.shape, moved))
    with pytest.raises(ValueError, match="does not lie on the study's grid"):
        bundle_zip(elsewhere, study, INPUT_SHA256, MASK)
