import csv
import io

import numpy as np
import pytest

from utils.export import CSV_COLUMNS, volumes_csv
from utils.grid import Grid
from utils.labels import Label, Region
from utils.segmentation import Provenance, Segmentation


@pytest.fixture
def segmentation() -> Segmentation:
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[:5] = Label.ED  # 500 voxels of 2 microlitres
    labels[:2] = Label.NCR_NET
    labels[0] = Label.ET
    grid = Grid(labels.shape, np.diag([-1.0, -1.0, 2.0, 1.0]))
    probabilities = np.zeros((*labels.shape, len(Region)), np.uint8)
    made_by = Provenance("unet-1", "ab" * 32, "tensorflow on CPU", 3.5, ("scaled",), ("thick",))
    return Segmentation(labels, probabilities, grid, made_by)


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
    assert {(r["model"], r["weights_sha256"]) for r in rows} == {("unet-1", "ab" * 32)}
