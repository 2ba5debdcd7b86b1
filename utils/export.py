"""Files a clinician takes home."""

import csv
import io

import numpy as np

from utils.labels import TUMOUR_LABELS, Label, Region
from utils.segmentation import Segmentation

CSV_COLUMNS = ("kind", "name", "title", "volume_ml", "voxels", "model", "weights_sha256")


def volumes_csv(segmentation: Segmentation) -> bytes:
    """One row a tumour label, then one row a region, under ``CSV_COLUMNS``; UTF-8.

    Labels exclude each other; regions are nested, so their rows must not be added up.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for label in TUMOUR_LABELS:
        voxels = int(np.count_nonzero(segmentation.labels == label))
        writer.writerow(_row(segmentation, "label", label, voxels))
    for region in Region:
        voxels = int(np.count_nonzero(region.mask(segmentation.labels)))
        writer.writerow(_row(segmentation, "region", region, voxels))
    return table.getvalue().encode()


def _row(
    segmentation: Segmentation, kind: str, structure: Label | Region, voxels: int
) -> tuple[str, ...]:
    volume_ml = voxels * segmentation.grid.voxel_volume_ml
    made_by = segmentation.provenance
    return (
        kind,
        structure.name,
        structure.title,
        f"{volume_ml:.4f}",
        str(voxels),
        made_by.model_id,
        made_by.weights_sha256,
    )
