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

from utils.export import CSV_COLUMNS, bundle_zip, picture_png, volumes_csv
from utils.labels import Label
from utils.plane import Plane
from utils.render import View
from utils.report import ReportNotes, report_pdf
from utils.sidecar import VERSION, Result, provenance_line, sidecar_json
from utils.study import Modality


def entries(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def rows(result: Result) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(volumes_csv(result).decode())))


def test_csv_lists_every_label_region_and_lesion(result: Result) -> None:
    assert [tuple(row) for row in rows(result)] == [CSV_COLUMNS] * 7
    assert {row["mask"] for row in rows(result)} == {"model"}
    assert [(r["kind"], r["name"], r["volume_ml"], r["voxels"]) for r in rows(result)] == [
        ("label", "NCR_NET", "0.2000", "100"),
        ("label", "ED", "0.6000", "300"),
        ("label", "ET", "0.2000", "100"),
        ("region", "WT", "1.0000", "500"),
        ("region", "TC", "0.4000", "200"),
        ("region", "ET", "0.2000", "100"),
        ("lesion", "1", "1.0000", "500"),
    ]


def test_every_row_of_the_csv_says_how_it_came_to_be(result: Result) -> None:
    measured = {"mask", "kind", "name", "title", "volume_ml", "voxels"}
    for row in rows(result):
        assert {key: value for key, value in row.items() if key not in measured} == {
            "notice": "Research use only. Not for diagnosis.",
            "program": f"brain-tumour-segmentation {VERSION}",
            "model": "unet-1",
            "weights_sha256": "ab" * 32,
            "device": "tensorflow on CPU",
            "seconds": "3.5",
            "finished_utc": "2026-01-02T03:04:05Z",
            **{f"{m}_sha256": sha256(m.encode()).hexdigest() for m in Modality},
            "steps": "Scaled.; Thresholded.",
            "notices": "5 µL left out.",
        }


def test_no_tumour_is_stated_as_zero_not_left_out(result: Result) -> None:
    empty = replace(result.segmentation, labels=np.zeros((10, 10, 10), np.uint8))
    found = [(r["volume_ml"], r["voxels"]) for r in rows(replace(result, segmentation=empty))]
    assert found == [("0.0000", "0")] * 6


def test_a_picture_carries_its_provenance_and_still_opens(result: Result) -> None:
    png = picture_png(result, Modality.T2, View(Plane.AXIAL, 3))
    picture = Image.open(io.BytesIO(png))
    picture.load()
    assert picture.text == {"provenance": provenance_line(result)}


def test_bundle_holds_mask_sidecar_table_report_and_a_picture_of_each_plane(
    result: Result,
) -> None:
    notes = ReportNotes("Room 5")
    files = entries(bundle_zip(result, notes))
    assert files.pop("segmentation.nii.gz") == result.mask
    assert files.pop("segmentation.json") == sidecar_json(result)
    assert files.pop("volumes.csv") == volumes_csv(result)
    assert files.pop("report.pdf") == report_pdf(result, notes)
    assert set(files) == {"axial.png", "coronal.png", "sagittal.png"}
    for picture in files.values():
        colours = np.asarray(Image.open(io.BytesIO(picture))).reshape(-1, 3)
        assert (colours == Label.ET.colour).all(axis=1).any()


def test_a_corrected_mask_never_goes_without_the_models_own(result: Result) -> None:
    labels = result.segmentation.labels.copy()
    labels[0] = Label.BACKGROUND
    changed = replace(result.segmentation, labels=labels)
    corrected = replace(result, segmentation=changed, mask=b"another", own=result)
    files = entries(bundle_zip(corrected))
    assert files["segmentation-corrected.nii.gz"] == b"another"
    assert files["segmentation-corrected.json"] == sidecar_json(corrected)
    assert files["segmentation.nii.gz"] == result.mask
    assert files["segmentation.json"] == sidecar_json(result)
    told = [(r["mask"], r["name"], r["volume_ml"]) for r in rows(corrected) if r["name"] == "ET"]
    assert told == [
        *[("corrected", "ET", "0.0000")] * 2,
        *[("model", "ET", "0.2000")] * 2,
    ]


def test_every_file_of_the_bundle_but_the_mask_itself_states_its_model_and_time(
    result: Result,
) -> None:
    files = entries(bundle_zip(result))
    del files["segmentation.nii.gz"]  # any program must be able to read it: its sidecar tells
    for name, content in files.items():
        assert b"ab" * 32 in content, name
        assert b"2026-01-02T03:04:05Z" in content, name
    sidecar = json.loads(files["segmentation.json"])
    assert sidecar["mask_sha256"] == sha256(result.mask).hexdigest()


def test_bundle_is_the_same_byte_for_byte_at_any_time(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bundle_zip(result)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1e6)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "12345")  # what matplotlib would believe
    assert bundle_zip(result) == first


def test_bundle_states_no_time_of_its_own(result: Result) -> None:
    with zipfile.ZipFile(io.BytesIO(bundle_zip(result))) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
