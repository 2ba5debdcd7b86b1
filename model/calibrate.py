"""Settle what the doubt of a model's networks is worth: ``python -m model.calibrate DATA``.

Once a model folder holds a network on everyone and its folds, every network gets the temperatures
that fit what folds say of the patients they left out: a fold those of the other folds, so that
nobody it is measured on has a part in them; the one on everyone those of all. Evaluate it again
afterwards: the app refuses a model whose temperatures are not those that were measured.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.bundle import folds_of, load_model, read_bundle, set_temperatures
from model.calibration import temperatures
from model.dataset import named_cases
from model.predict import DEFAULT_MODEL, EXIT_REFUSED, as_network, segment
from model.runtime import choose_backend
from utils.errors import UserError
from utils.labels import regions_of
from utils.segmentation import CERTAIN

LOG = logging.getLogger(__name__)
UNCALIBRATED = (1.0, 1.0, 1.0)


class Doubted(NamedTuple):
    """The voxels of one patient that a network is in doubt about, for any region.

    Attributes
    ----------
    stored : (M, 3) uint8 array
        Probabilities, times ``CERTAIN``.
    regions : (M, 3) bool array
        Where they truly belong.
    """

    stored: NDArray[np.uint8]
    regions: NDArray[np.bool_]


def calibrate(data: Path, folder: Path) -> None:
    """Write the temperatures of a model folder and of its folds, which must be two at least.

    Raises
    ------
    UserError
        If folds or cases are missing.
    """
    folds = folds_of(folder)
    if len(folds) < 2:  # one has no others to learn from
        raise UserError(f"{folder} holds fewer than two folds. Train them first.")
    doubted = [left_out(data, fold) for fold in folds]
    for number, fold in enumerate(folds):
        others = [patient for n, found in enumerate(doubted) if n != number for patient in found]
        _write(fold, others)
    _write(folder, [patient for found in doubted for patient in found])


def left_out(data: Path, fold: Path) -> list[Doubted]:
    """What a fold says, uncalibrated, of each patient it never saw."""
    info = read_bundle(fold)
    choose_backend()
    model = load_model(replace(info, temperatures=UNCALIBRATED))
    network = as_network([model], info.unet, info.training.window)
    found = []
    for case in named_cases(data, info.cases["test"]):
        study, truth = case.read()
        stored = segment(study, network).probabilities
        doubtful = ((stored > 0) & (stored < CERTAIN)).any(axis=-1)
        found.append(Doubted(stored[doubtful], regions_of(truth[doubtful])))
        LOG.info("%s: %s", fold.name, case.name)
    return found


def _write(folder: Path, patients: Sequence[Doubted]) -> None:
    found = temperatures(*zip(*patients, strict=True))
    set_temperatures(folder, found)
    LOG.info("%s: WT %g, TC %g, ET %g", folder.name, *found)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m model.calibrate", description=__doc__)
    parser.add_argument("data", type=Path, help="folder of BraTS cases")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="a model folder")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        calibrate(arguments.data, arguments.model)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
