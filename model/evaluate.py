"""Measure a model on patients it never saw: ``python -m model.evaluate DATA``.

Runs the app's own inference path on every case of the set the model's config names, and writes
``metrics.json``, the plots and ``MODEL_CARD.md`` into the model folder.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from model.bundle import METRICS, read_bundle
from model.card import write_card
from model.dataset import Case, find_cases
from model.predict import DEFAULT_MODEL, EXIT_REFUSED, Network, load_network, segment
from utils.errors import UserError
from utils.labels import Region
from utils.metrics import naive_scores, score

LOG = logging.getLogger(__name__)
SUMMARISED = (
    "dice", "hd95_mm", "surface_dice", "sensitivity", "precision", "lesion_dice",
    "volume_error_ml", "absolute_volume_error_ml",
)  # fmt: skip
RESAMPLES = 10_000


def evaluate(cases: Sequence[Case], network: Network) -> dict[str, Any]:
    """Score the network on labelled cases, patient by patient.

    Returns
    -------
    dict
        What ``metrics.json`` holds: ``cases`` with the scores of every region, ``summary`` with
        mean, median, quartiles and a bootstrap 95 % interval of the mean over patients.
    """
    results = {}
    for number, case in enumerate(cases, 1):
        results[case.name] = evaluate_case(case, network)
        dice = "  ".join(f"{k} {v['dice']:.3f}" for k, v in results[case.name]["regions"].items())
        LOG.info("[%d/%d] %s  %s", number, len(cases), case.name, dice)
    return {
        "weights_sha256": network.weights_sha256,
        "runtime": network.runtime,
        "cases": results,
        "summary": {
            region.name: {
                name: summary([r["regions"][region.name][name] for r in results.values()])
                for name in SUMMARISED
            }
            for region in Region
        },
        "naive": {
            name: float(np.mean([r["naive"][name] for r in results.values()]))
            for name in next(iter(results.values()))["naive"]
        },
    }


def evaluate_case(case: Case, network: Network) -> dict[str, Any]:
    """Scores of one case, as plain numbers."""
    study, truth = case.read()
    started = time.perf_counter()
    labels = segment(study, network).labels
    seconds = time.perf_counter() - started
    regions = {}
    for region, found in score(labels, truth, study.grid).items():
        regions[region.name] = {
            **{k: v for k, v in asdict(found).items() if k != "lesions"},
            "volume_error_ml": found.volume_error_ml,
            "absolute_volume_error_ml": found.absolute_volume_error_ml,
            "lesion_dice": found.lesions.dice,
            "lesions_found": found.lesions.found,
            "lesions_missed": found.lesions.missed,
            "lesions_false": found.lesions.false,
        }
    return {
        "patient": case.patient,
        "regions": regions,
        "naive": asdict(naive_scores(labels, truth, study.grid)),
        "seconds": round(seconds, 2),
    }


def summary(values: Sequence[float]) -> dict[str, float]:
    """Mean, median, quartiles, and the bootstrap 95 % interval of the mean (percentile method)."""
    array = np.array(values)
    rng = np.random.default_rng(0)
    means = rng.choice(array, (RESAMPLES, len(array))).mean(axis=1)
    q1, median, q3 = np.percentile(array, [25, 50, 75])
    low, high = np.percentile(means, [2.5, 97.5])
    found = {"mean": array.mean(), "median": median, "q1": q1, "q3": q3, "low": low, "high": high}
    return {name: round(float(value), 4) for name, value in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m model.evaluate", description=__doc__)
    parser.add_argument("data", type=Path, help="folder of BraTS cases")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="a model folder")
    parser.add_argument("--set", choices=("test", "validation", "train"), default="test")
    parser.add_argument("--dry", action="store_true", help="print the scores, write nothing")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        metrics = evaluate(
            _named(arguments.data, read_bundle(arguments.model).cases[arguments.set]),
            load_network(arguments.model),
        )
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_REFUSED
    LOG.info(json.dumps(metrics["summary"], indent=1))
    if arguments.set == "test" and not arguments.dry:
        (arguments.model / METRICS).write_text(json.dumps(metrics, indent=1) + "\n")
        write_card(arguments.model)
    return 0


def _named(data: Path, names: Sequence[str]) -> list[Case]:
    cases = {case.name: case for case in find_cases(data)}
    absent = [name for name in names if name not in cases]
    if absent:
        raise UserError(
            f"{data} lacks {', '.join(absent)}; the figures need every case of the set."
        )
    return [cases[name] for name in names]


if __name__ == "__main__":
    sys.exit(main())
