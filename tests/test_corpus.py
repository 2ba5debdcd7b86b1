"""Every odd or hostile file gets the right verdict, in plain words, in 1 GB and 5 s."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import corpus
from tests.corpus import CANARY, ROWS, TISSUES, Row
from utils.errors import UserError
from utils.intake import read_study_folder
from utils.label_map import read_label_map
from utils.nifti import write_labels

JUDGE = Path(__file__).with_name("corpus.py")


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    root = tmp_path_factory.mktemp("corpus")
    folders = [root / str(number) for number in range(len(ROWS))]
    for row, folder in zip(ROWS, folders, strict=True):
        corpus.write(row, folder)
    judged = subprocess.run(
        [sys.executable, JUDGE, *folders], capture_output=True, text=True, check=True
    )
    return [json.loads(line) | {"log": judged.stderr} for line in judged.stdout.splitlines()]


@pytest.mark.parametrize(
    ("index", "row"), list(enumerate(ROWS)), ids=[f"{row.number}-{row.title}" for row in ROWS]
)
def test_row(index: int, row: Row, verdicts: list[dict[str, Any]]) -> None:
    found = verdicts[index]
    assert "traceback" not in found, found["traceback"]
    assert found["verdict"] == row.verdict, found
    sentences = found["errors"] if row.verdict == "refuse" else found["notices"]
    if row.says:
        assert any(re.search(row.says, sentence) for sentence in sentences), sentences
    assert found["bytes"] < corpus.MEMORY_BYTES
    assert found["seconds"] < corpus.SECONDS


@pytest.mark.parametrize(
    "row", [r for r in ROWS if r.verdict != corpus.REFUSE], ids=lambda row: row.title
)
def test_every_scan_that_is_accepted_gets_a_mask_that_verifies(row: Row, tmp_path: Path) -> None:
    corpus.write(row, tmp_path / "study")
    for scan in read_study_folder(tmp_path / "study").study.scans.values():
        labels = np.zeros(scan.grid.shape, np.uint8)
        labels[4:9, 5:12, 3:8] = 2
        write_labels(labels, scan.grid)


def test_the_largest_clinical_scans_are_checked_in_one_gigabyte(tmp_path: Path) -> None:
    corpus.write_large_study(tmp_path / "large")
    judged = subprocess.run(
        [sys.executable, JUDGE, tmp_path / "large"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CORPUS_SECONDS": "300"},  # 420 MB take longer than an odd file
    )
    found = json.loads(judged.stdout)
    assert found["verdict"] == "notice", found
    assert found["bytes"] < corpus.MEMORY_BYTES
    assert found["cpu_seconds"] < len(TISSUES) * corpus.SECONDS


@pytest.mark.parametrize(("numbers", "codings"), corpus.MASK_ROWS)
def test_a_reference_mask_is_read_in_one_coding_asked_about_or_refused(
    numbers: tuple[int, ...], codings: list[str]
) -> None:
    if not codings:
        with pytest.raises(UserError, match=r"Reference mask: no known coding has .* 1, 2, 3, 4"):
            read_label_map(corpus.mask_of(*numbers), "Reference mask")
        return
    found = read_label_map(corpus.mask_of(*numbers), "Reference mask")
    assert [coding.name for coding in found.codings] == codings
    assert (found.safe_coding is None) == (len(codings) > 1)


def test_every_row_of_the_table_is_in_the_corpus() -> None:
    assert {row.number for row in ROWS} | {45} >= set(range(1, 47))


def test_a_refusal_names_the_scan_and_the_next_step(verdicts: list[dict[str, Any]]) -> None:
    for row, found in zip(ROWS, verdicts, strict=True):
        for sentence in found["errors"]:
            assert re.search(r"\b(FLAIR|T1|T1ce|T2)\b", sentence), (row.title, sentence)
            assert sentence.count(".") >= 2, (row.title, sentence)  # finding, next step


def test_no_text_of_a_header_or_a_file_name_reaches_a_verdict_or_the_log(
    verdicts: list[dict[str, Any]],
) -> None:
    for found in verdicts:
        text = json.dumps(found)
        for secret in ("DOE", "JANE", "MRN12345", CANARY, "onerror", "example"):
            assert secret not in text
