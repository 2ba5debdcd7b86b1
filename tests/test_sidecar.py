"""The sidecar explains its mask, keeps to its schema, and is the same whenever it is made."""

import json
import time
import tomllib
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from utils import sidecar
from utils.grid import Grid
from utils.labels import Label
from utils.sidecar import Result, installed_versions, provenance_line, sidecar_json
from utils.study import Modality

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads((ROOT / "docs/sidecar.schema.json").read_text())


def test_sidecar_explains_the_mask(result: Result) -> None:
    assert json.loads(sidecar_json(result)) == {
        "schema": "brain-tumour-segmentation/sidecar/3",
        "notice": "Research use only. Not for diagnosis.",
        "program": {
            "name": "brain-tumour-segmentation",
            "version": sidecar.VERSION,
            "packages": installed_versions(),
        },
        "model": {"id": "unet-1", "weights_sha256": "ab" * 32},
        "run": {
            "finished_utc": "2026-01-02T03:04:05Z",
            "seconds": 3.5,
            "device": "tensorflow on CPU",
        },
        "input_sha256": {m.value: sha256(m.encode()).hexdigest() for m in Modality},
        "steps": ["Scaled.", "Thresholded."],
        "corrections": [],
        "notices": ["5 µL left out."],
        "label_map": {
            "0": "Background",
            "1": "Necrotic and non-enhancing core",
            "2": "Oedema",
            "4": "Enhancing tumour",
        },
        "mask_sha256": sha256(b"a mask file").hexdigest(),
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


def test_the_published_schema_describes_it(result: Result) -> None:
    jsonschema.validate(json.loads(sidecar_json(result)), SCHEMA)


@pytest.mark.parametrize("field", SCHEMA["required"])
def test_nothing_can_be_left_out_of_it(result: Result, field: str) -> None:
    stated = json.loads(sidecar_json(result))
    del stated[field]
    with pytest.raises(jsonschema.ValidationError, match=field):
        jsonschema.validate(stated, SCHEMA)


def test_the_schema_requires_every_field_it_describes() -> None:
    objects = [SCHEMA, *SCHEMA["properties"].values()]
    for described in (o for o in objects if "properties" in o):
        assert set(described["properties"]) - set(described["required"]) <= {"correction"}


def test_beside_a_corrected_mask_stands_what_the_model_itself_had_found(result: Result) -> None:
    labels = result.segmentation.labels.copy()
    labels[0, :5] = Label.BACKGROUND  # 50 of 100 voxels of 2 microlitres
    made_by = replace(result.segmentation.provenance, corrections=("removed half",))
    changed = replace(result.segmentation, labels=labels, provenance=made_by)
    corrected = replace(result, segmentation=changed, mask=b"new", own=result)
    stated = json.loads(sidecar_json(corrected))
    jsonschema.validate(stated, SCHEMA)
    assert stated["steps"] == ["Scaled.", "Thresholded."]
    assert stated["corrections"] == ["removed half"]
    assert stated["mask_sha256"] == sha256(b"new").hexdigest()
    assert stated["volumes_ml"]["regions"] == {"WT": 0.9, "TC": 0.3, "ET": 0.1}
    assert stated["correction"] == {
        "model_mask_sha256": sha256(b"a mask file").hexdigest(),
        "model_volumes_ml": {
            "labels": {"NCR_NET": 0.2, "ED": 0.6, "ET": 0.2},
            "regions": {"WT": 1.0, "TC": 0.4, "ET": 0.2},
        },
        "difference_ml": {
            "labels": {"NCR_NET": 0, "ED": 0, "ET": -0.1},
            "regions": {"WT": -0.1, "TC": -0.1, "ET": -0.1},
        },
    }
    assert "correction" not in json.loads(sidecar_json(result))


def test_a_run_without_a_time_does_not_fit_the_schema(result: Result) -> None:
    made_by = replace(result.segmentation.provenance, finished_utc="")
    timeless = replace(result, segmentation=replace(result.segmentation, provenance=made_by))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(sidecar_json(timeless)), SCHEMA)


def test_it_is_the_same_byte_for_byte_whenever_it_is_made(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sidecar_json(result)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1e6)
    assert sidecar_json(result) == first


def test_what_other_files_embed_is_one_line_of_ascii(result: Result) -> None:
    line = provenance_line(replace(result))
    assert line.isascii()
    assert "\n" not in line
    whole = json.loads(sidecar_json(result))
    assert json.loads(line) == {key: whole[key] for key in json.loads(line)}


def test_the_programs_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["version"]) == (sidecar.PROGRAM, sidecar.VERSION)


def test_versions_name_what_made_the_mask_and_skip_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sidecar, "_PACKAGES", ("numpy", "no-such-package-is-installed"))
    versions = installed_versions()
    assert versions["numpy"] == np.__version__
    assert set(versions) == {"python", "numpy"}


@pytest.mark.parametrize("wrong", ["", "DOE_JANE_t1.nii.gz", "AB" * 32, "ab" * 31])
def test_only_a_hash_can_stand_for_a_file(result: Result, wrong: str) -> None:
    with pytest.raises(ValueError, match="no SHA-256 of T1 was given"):
        replace(result, input_sha256={**result.input_sha256, Modality.T1: wrong})


def test_a_missing_hash_is_refused(result: Result) -> None:
    with pytest.raises(ValueError, match="no SHA-256 of FLAIR was given"):
        replace(result, input_sha256={})


def test_segmentation_of_another_study_is_no_result(result: Result) -> None:
    moved = result.segmentation.grid.affine.copy()
    moved[0, 3] += 5
    elsewhere = Grid(result.segmentation.grid.shape, moved)
    with pytest.raises(ValueError, match="does not lie on the study's grid"):
        replace(result, segmentation=replace(result.segmentation, grid=elsewhere))
