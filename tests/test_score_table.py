"""The table of scores: what stands in it on the page and in the file."""

import csv
import io

import numpy as np

from utils.grid import Grid
from utils.labels import Region
from utils.metrics import score
from utils.score_table import COLUMNS, empty_region_remarks, score_rows, scores_csv

GRID = Grid((20, 20, 20), np.diag([1.0, 1.0, 2.0, 1.0]))


def labels(first: int, label: int = 4) -> np.ndarray:
    values = np.zeros(GRID.shape, np.uint8)
    values[first : first + 4, 5:10, 5:10] = label  # 100 voxels of 2 mm3: 0.2 mL
    return values


def test_every_row_has_a_cell_for_every_column_and_the_regions_keep_their_order() -> None:
    rows = score_rows(score(labels(5), labels(7), GRID))
    assert [row[0] for row in rows] == [f"{r.title} ({r.name})" for r in Region]
    assert {len(row) for row in rows} == {len(COLUMNS)}


def test_half_overlapping_boxes_are_written_as_paper_says() -> None:
    row = score_rows(score(labels(5), labels(7), GRID))[0]
    assert row[1] == "0.500"
    assert row[4:] == ("0.500", "0.500", "0.20", "0.20", "+0.00")


def test_the_file_holds_more_digits_of_the_same_numbers() -> None:
    scores = score(labels(5), labels(7), GRID)
    header, *rows = csv.reader(io.StringIO(scores_csv(scores).decode()))
    assert tuple(header) == COLUMNS
    assert [float(c) for c in rows[0][6:]] == [0.2, 0.2, 0.0]
    assert rows[0][1] == "0.50000"


def test_a_convention_is_told_only_where_a_region_is_empty() -> None:
    assert empty_region_remarks(score(labels(5), labels(7), GRID)) == []
    oedema = labels(5, 2)
    both = empty_region_remarks(score(oedema, oedema, GRID))
    assert [text.split(":")[0] for text in both] == [
        "Neither mask has tumour core",
        "Neither mask has enhancing tumour",
    ]
    one = empty_region_remarks(score(oedema, labels(5), GRID))
    assert one[0].startswith("Only the reference has tumour core")
