"""How a volume compares with those of a cohort of patients.

``python -m utils.cohort LABEL_MAPS.npz`` measures the cohort anew and writes the quantiles, the
only thing of it that is kept here.
"""

import json
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utils.grid import MM3_PER_ML
from utils.labels import Region

TABLE = Path(__file__).with_name("cohort.json")
COHORT = "BraTS 2020"
VOXEL_MM = (240 / 128, 240 / 128, 155 / 128)  # 240 x 240 x 155 mm resized to 128 voxels a side
PERCENTS = np.arange(101)


@dataclass(frozen=True, eq=False)
class Cohort:
    """The volumes of a cohort, as quantiles.

    Attributes
    ----------
    title : str
        Which one.
    patients : int
        How many.
    quantiles_ml : mapping of Region to (101,) float64 array
        Volumes that 0, 1, ... 100 % of the patients do not exceed.
    """

    title: str
    patients: int
    quantiles_ml: dict[Region, NDArray[np.float64]]

    def share_below(self, region: Region, volume_ml: float) -> float:
        """Share of the patients, 0 to 1, whose region is smaller than this volume."""
        quantiles = self.quantiles_ml[region]
        if volume_ml <= quantiles[0]:
            return 0.0
        return float(np.interp(volume_ml, quantiles, PERCENTS)) / 100


@cache
def cohort() -> Cohort:
    """Read the cohort that the app compares with."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    quantiles = {region: np.array(table["quantiles_ml"][region.name]) for region in Region}
    return Cohort(table["title"], table["patients"], quantiles)


def measured(label_maps: NDArray[np.uint8], title: str) -> Cohort:
    """Measure (N, 128, 128, 128) label maps of one patient each, in voxels of ``VOXEL_MM``."""
    voxel_ml = float(np.prod(VOXEL_MM)) / MM3_PER_ML
    volumes_ml = {
        region: [np.count_nonzero(region.mask(labels)) * voxel_ml for labels in label_maps]
        for region in Region
    }
    quantiles = {region: np.percentile(ml, PERCENTS) for region, ml in volumes_ml.items()}
    return Cohort(title, len(label_maps), quantiles)


def table_of(found: Cohort) -> str:
    """Write a cohort as `cohort` reads it."""
    quantiles = {r.name: np.round(ml, 2).tolist() for r, ml in found.quantiles_ml.items()}
    table = {"title": found.title, "patients": found.patients, "quantiles_ml": quantiles}
    return json.dumps(table) + "\n"


if __name__ == "__main__":
    with np.load(sys.argv[1]) as archive:
        TABLE.write_text(table_of(measured(archive["labels"], COHORT)), encoding="utf-8")
