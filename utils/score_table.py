"""Scores of a mask against a reference as rows: one wording for page and file."""

import csv
import io
from collections.abc import Mapping

from utils.labels import Region
from utils.metrics import HD95_ONE_EMPTY_MM, SURFACE_TOLERANCE_MM, RegionScores

COLUMNS = (
    "Region",
    "Dice",
    "HD95 (mm)",
    f"Surface Dice at {SURFACE_TOLERANCE_MM:g} mm",
    "Sensitivity",
    "Precision",
    "Mask (mL)",
    "Reference (mL)",
    "Difference (mL)",
)


def score_rows(scores: Mapping[Region, RegionScores], decimals: int = 3) -> list[tuple[str, ...]]:
    """One row a region, in the order of ``COLUMNS``; millimetres and millilitres one digit less."""
    coarse = decimals - 1
    return [
        (
            f"{region.title} ({region.name})",
            f"{found.dice:.{decimals}f}",
            f"{found.hd95_mm:.{coarse}f}",
            f"{found.surface_dice:.{decimals}f}",
            f"{found.sensitivity:.{decimals}f}",
            f"{found.precision:.{decimals}f}",
            f"{found.predicted_ml:.{coarse}f}",
            f"{found.reference_ml:.{coarse}f}",
            f"{found.volume_error_ml:+.{coarse}f}",
        )
        for region, found in scores.items()
    ]


def scores_csv(scores: Mapping[Region, RegionScores]) -> bytes:
    """The table as a file, with two digits more than on the screen."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *score_rows(scores, decimals=5)])
    return text.getvalue().encode()


def empty_region_remarks(scores: Mapping[Region, RegionScores]) -> list[str]:
    """Say where a figure is a convention, because a mask has none of the region."""
    remarks = []
    for region, found in scores.items():
        if not found.predicted_ml and not found.reference_ml:
            remarks.append(
                f"Neither mask has {region.title.lower()}: by the BraTS convention that is full "
                "agreement (Dice 1, HD95 0 mm)."
            )
        elif not found.predicted_ml or not found.reference_ml:
            who = "reference" if found.reference_ml else "mask"
            remarks.append(
                f"Only the {who} has {region.title.lower()}: by the BraTS convention Dice is 0 and "
                f"HD95 {HD95_ONE_EMPTY_MM} mm, the diagonal of a BraTS volume."
            )
    return remarks
